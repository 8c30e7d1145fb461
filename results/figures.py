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

from results.direction import less_is_better, scale
from results.tables import Column, Table, short

MARKERS = "osD^vP*Xhd<>p8"
SUFFIXES = (".png", ".svg")


def styles(methods: Sequence[str]) -> dict[str, tuple[tuple[float, ...], str]]:
    """Return (colour, marker) of each method, by its place in the alphabet."""
    names = sorted(methods)
    colours = sns.color_palette("colorblind", 10)
    return {
        name: (colours[i % 10], MARKERS[(i + i // 10) % len(MARKERS)])
        for i, name in enumerate(names)
    }


def save(table: Table, folder: Path) -> list[Path]:
    """Write every figure of a table as PNG and SVG and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    datasets = list(dict.fromkeys(column.dataset for column in table.columns))
    for dataset in datasets:
        columns = [column for column in table.columns if column.dataset == dataset]
        stem = f"{table.backbone}-{table.image_size}-{dataset}".replace("/", "_").replace(":", "_")
        made = {"parameters": parameters(table, columns[-1])}
        if len(columns) > 1:
            made["labels"] = label_curve(table, columns)
        for kind, figure in made.items():
            for suffix in SUFFIXES:
                paths.append(folder / f"{stem}-{kind}{suffix}")
                figure.savefig(paths[-1], dpi=150, bbox_inches="tight")
            plt.close(figure)
    return paths


def _axes(table: Table, column: Column) -> tuple[Figure, Axes]:
    sns.set_theme(style="ticks", context="paper", font_scale=1.1)
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    mark = " (synthetic)" if column.synthetic else ""
    axes.set_title(f"{column.dataset}{mark}, {table.backbone} at {table.image_size} px")
    axes.set_ylabel(f"test {column.metric}" + (" x 100" if scale(column.metric) == 100 else ""))
    axes.grid(axis="y", color="0.9")
    sns.despine(figure)
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def label_curve(table: Table, columns: Sequence[Column]) -> Figure:
    """Return score against the number of labels, one line per method, band of +- one deviation."""
    figure, axes = _axes(table, columns[0])
    look = styles(table.methods)
    for method in table.methods:
        found = [(c.labels, table.scores[method, c]) for c in columns]
        points = [(x, s.mean, s.spread or 0.0) for x, s in found if s.mean is not None]
        if not points:
            continue
        x, y, spread = (list(values) for values in zip(*points, strict=True))
        colour, marker = look[method]
        axes.plot(x, y, color=colour, marker=marker, label=short(method, table.methods))
        low, high = ([a + f * b for a, b in zip(y, spread, strict=True)] for f in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks([c.labels for c in columns])
    axes.set_xticklabels([f"{c.labels}\n{c.share}" for c in columns])
    axes.minorticks_off()
    axes.set_xlabel("labels used (training + validation)")
    _legend(axes)
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
            markersize=8,
            linestyle="none",
            label=short(method, table.methods),
        )
        points.append((x, score.mean))
    front = pareto(points, less=less_is_better(column.metric))
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0) if front else None
    _log_with_zero(axes, [x for x, _ in points])
    axes.set_xlabel("trained parameters without head")
    axes.set_title(f"{axes.get_title()}, {column.share} of the labels")
    _legend(axes)
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


def pareto(points: Sequence[tuple[int, float]], *, less: bool = False) -> list[tuple[int, float]]:
    """Return the points that no other beats with as few parameters, by parameters.

    `less`: a lower score is better.
    """
    sign = -1 if less else 1
    front: list[tuple[int, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front
