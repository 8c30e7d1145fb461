"""Methods x columns at one glance: the scores as text, the distance to the best as colour.

Legend: M methods, N columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.scores import metric_of
from results.figures.shown import Shown, kind
from results.figures.style import COLUMN, explain, new
from results.statistics.comparison import sign
from results.tables import Table, marks
from results.tables.sheet import BEST, MEANING

ROW = 0.17  # inches
LIGHT = sns.blend_palette(["white", "#8dbbdc", "#3f86bd"], as_cmap=True)  # black text is read on it


@kind(
    "heatmap",
    "all scores at one glance, shaded by the distance to the best",
    "no table has two methods with a score",
    default=True,
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the heat map of a table with two methods or more."""
    table = shown.table
    scored = [
        m for m in table.methods if any(table.scores[m, c].mean is not None for c in table.columns)
    ]
    if len(scored) > 1:
        yield "", draw(shown, scored)


def gaps(table: Table, methods: Sequence[str]) -> np.ndarray:
    """Return (M, N): how far each score is behind the best of its column, NaN without a score.

    In points where every column is x 100; otherwise as a share of the column's largest gap. The
    best is that of the marks: one run is not the best beside repeated ones, and is 0 behind where
    it is above them.
    """
    behind = np.full((len(methods), len(table.columns)), np.nan)
    for j, column in enumerate(table.columns):
        marked = marks(table, column)
        means = {m: table.scores[m, column].mean for m in methods}
        known = {m: sign(column) * mean for m, mean in means.items() if mean is not None}
        best = [value for m, value in known.items() if BEST in marked[m]]
        for i, method in enumerate(methods):
            if method in known and best:
                behind[i, j] = max(0.0, max(best) - known[method])
    if all(metric_of(c.metric).is_share for c in table.columns):
        return behind
    # millimetres and percent on one colour scale: each column by its own largest gap
    most = np.array([np.nanmax(g) if np.isfinite(g).any() else np.nan for g in behind.T])
    return behind / np.where(most > 0, most, 1)


def order(behind: np.ndarray) -> list[int]:
    """Return the rows, those with a score everywhere first, then by their mean gap."""
    # a method with gaps would lead by the mean of its easy columns
    lacks = np.isnan(behind).sum(1)
    means = [np.nanmean(row) if np.isfinite(row).any() else np.inf for row in behind]
    return sorted(range(len(behind)), key=lambda i: (lacks[i], means[i], i))


def draw(shown: Shown, methods: Sequence[str]) -> Figure:
    """Return the heat map, methods by their mean gap; a dash where nothing was run."""
    table = shown.table
    behind = gaps(table, methods)
    rows = order(behind)
    names = [shown.name(methods[i]) for i in rows]
    # 0.065 inches a letter of 7 points, 0.5 a column "72.5=" with room
    width = 0.9 + 0.065 * max(map(len, names)) + 0.5 * len(table.columns)
    figure, grid = new(size=(max(COLUMN, width), 1.5 + ROW * len(rows)))
    axes = grid[0, 0]
    points = all(metric_of(c.metric).is_share for c in table.columns)
    unit = "points behind best" if points else "share of largest gap"
    mesh = axes.pcolormesh(behind[rows], cmap=LIGHT, vmin=0, edgecolors="0.85", linewidth=0.6)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axes, label=unit, aspect=8 + len(rows))
    bar.outline.set_visible(False)
    axes.set_facecolor("0.97")
    used = set()
    for x, column in enumerate(table.columns):
        marked = marks(table, column)
        for y, i in enumerate(rows):
            score, mark = table.scores[methods[i], column], marked.get(methods[i], "")
            if score.mean is None:
                axes.text(
                    x + 0.5, y + 0.5, str(score), size=5.5, color="0.45", ha="center", va="center"
                )
                continue
            used |= set(mark) - {BEST}
            axes.text(
                x + 0.5,
                y + 0.5,
                f"{score.text(spread=False)}{mark.replace(BEST, '')}",
                size=6.5,
                weight="bold" if BEST in mark else "normal",
                ha="center",
                va="center",
            )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _label_columns(axes, shown)
    if shown.titles:
        axes.set_title(shown.place, pad=8)
    explain(figure, "; ".join(["bold: best", *(f"{m} {MEANING[m]}" for m in sorted(used))]))
    return figure


def _label_columns(axes: Axes, shown: Shown) -> None:
    """Label the columns by share and labels, and below them each data set once."""
    columns = shown.table.columns
    axes.set_xticks(np.arange(len(columns)) + 0.5)
    axes.set_xticklabels([c.amount.replace(" ", "\n") for c in columns], rotation=0, size=6.5)
    names = [shown.dataset(c) for c in columns]
    for name in dict.fromkeys(names):
        places = [i for i, other in enumerate(names) if other == name]
        label = f"{name}\n{metric_of(columns[places[0]].metric).display}"
        axes.annotate(
            label,
            ((places[0] + places[-1] + 1) / 2, 0),
            (0, -25),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            size=7,
        )
        if places[0]:
            axes.axvline(places[0], color="0.3", linewidth=1)
