"""Figures from a `Table`: label-efficiency curves and score against trained parameters.

One colour and marker per method, the same in every figure; the palette is colour-blind safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.scores import metric_of
from results.costs.pareto import pareto
from results.tables import Column, Table
from results.tables.naming import brief

MARKERS = "osD^vP*Xhd<>p8"
SUFFIXES = (".png", ".svg", ".pdf")
COLUMN, PAGE = 3.5, 7.0  # inches: the width of a column and of a page in print
_TEXT = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
}


def styles(methods: Sequence[str]) -> dict[str, tuple[tuple[float, ...], str]]:
    """Return (colour, marker) of each method, by its place in the alphabet."""
    names = sorted(methods)
    colours = sns.color_palette("colorblind", 10)
    return {
        name: (colours[i % 10], MARKERS[(i + i // 10) % len(MARKERS)])
        for i, name in enumerate(names)
    }


def line(methods: Sequence[str], method: str) -> str:
    """Return the line style of a method: another one where colours come a second time."""
    return ("-", "--", ":")[sorted(methods).index(method) // 10 % 3]


def theme() -> None:
    """Set sizes that are read in print without scaling: text of 6.5 to 8 points."""
    sns.set_theme(style="ticks", context="paper", rc=_TEXT)


def stem_of(*names: object) -> str:
    """Return a file name without what a path would read as its own."""
    return "-".join(str(name) for name in names).replace("/", "_").replace(":", "_")


def write(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG (300 dpi), SVG and PDF, close it and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    for path in paths:
        figure.savefig(path, dpi=300, bbox_inches="tight", pad_inches=0.03)
    plt.close(figure)
    return paths


def save(table: Table, folder: Path) -> list[Path]:
    """Write label curves and score against parameters of each data set; return the paths."""
    paths: list[Path] = []
    datasets = list(dict.fromkeys(column.name for column in table.columns))
    for dataset in datasets:
        columns = [column for column in table.columns if column.name == dataset]
        stem = stem_of(table.name, table.image_size, dataset)
        made = {"parameters": parameters(table, columns[-1])}
        if len(columns) > 1:
            made["labels"] = label_curve(table, columns)
        for kind, figure in made.items():
            paths += write(figure, folder, f"{stem}-{kind}")
    return paths


def _axes(table: Table, column: Column) -> tuple[Figure, Axes]:
    theme()
    figure, axes = plt.subplots(figsize=(COLUMN, 2.5))
    axes.set_title(heading(table, column))
    axes.set_ylabel(f"test {unit_of(column)}")
    axes.grid(axis="y", color="0.9")
    sns.despine(figure)
    return figure, axes


def heading(table: Table, column: Column) -> str:
    """Return data set, backbone and image size; synthetic data is marked."""
    mark = " (synthetic)" if column.synthetic else ""
    return f"{column.name}{mark}, {table.name} at {table.image_size} px"


def unit_of(column: Column) -> str:
    """Return the metric in words with its unit, such as "balanced accuracy x 100"."""
    metric = metric_of(column.metric)
    return metric.display + (" x 100" if metric.is_share else "")


def legend(axes: Axes) -> None:
    """Put the legend below the axes and its label, three names in a row."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.33),
        ncol=3,
        frameon=False,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def label_curve(table: Table, columns: Sequence[Column]) -> Figure:
    """Return score against the number of labels, one line per method, band of +- one deviation.

    Methods with a single point are no curve: they are counted below the axis.
    """
    figure, axes = _axes(table, columns[0])
    look, single = styles(table.methods), 0
    for method in table.methods:
        found = [(c.labels, table.scores[method, c]) for c in columns]
        points = [(x, s.mean, s.spread or 0.0) for x, s in found if s.mean is not None]
        if len(points) < 2:
            single += bool(points)
            continue
        x, y, spread = (list(values) for values in zip(*points, strict=True))
        colour, marker = look[method]
        style = {"color": colour, "marker": marker, "linestyle": line(table.methods, method)}
        axes.plot(x, y, **style, label=brief(method, table.methods))  # type: ignore[arg-type]
        low, high = ([a + f * b for a, b in zip(y, spread, strict=True)] for f in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks([c.labels for c in columns])
    axes.set_xticklabels([f"{c.labels}\n{c.share}" for c in columns])
    axes.minorticks_off()
    left = f"\nleft out: {single} methods with one fraction" if single else ""
    axes.set_xlabel(f"labels used (training + validation){left}", fontsize=7)
    legend(axes)
    return figure


def parameters(table: Table, column: Column) -> Figure:
    """Return score against trained parameters (log), with the Pareto front as a grey line."""
    figure, axes = _axes(table, column)
    look = styles(table.methods)
    points = []
    for method in table.methods:
        score, trained = table.scores[method, column], table.costs[method][0].replace(",", "")
        if score.mean is None or not trained:
            continue
        x = int(trained)
        colour, marker = look[method]
        axes.errorbar(
            x,
            score.mean,
            yerr=score.spread,
            color=colour,
            marker=marker,
            markersize=5,
            elinewidth=0.9,
            linestyle="none",
            label=brief(method, table.methods),
        )
        points.append((x, score.mean))
    front = pareto(points, less=metric_of(column.metric).lower_is_better)
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0) if front else None
    _log_with_zero(axes, [x for x, _ in points])
    axes.set_xlabel("trained parameters without head")
    axes.set_title(f"{axes.get_title()}, {column.share} of the labels")
    legend(axes)
    return figure


def _log_with_zero(axes: Axes, values: Sequence[int]) -> None:
    """Make x logarithmic over `values`, with a place for 0 (a linear probe) at the left."""
    positive = [x for x in values if x > 0]
    if len(positive) == len(values):
        axes.set_xscale("log")
        axes.margins(x=0.1)
        return
    positive = positive or [1]
    first = 10 ** math.floor(math.log10(min(positive)))
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    axes.set_xlim(-first / 3, max(positive) * 3)
    decades = [
        10**k for k in range(round(math.log10(first)), 1 + math.ceil(math.log10(max(positive))))
    ]
    axes.set_xticks([0, *decades])
