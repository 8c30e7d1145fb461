"""Methods x columns at one glance: the scores as text, the distance to the best as colour.

Legend: M methods, N columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.scores import metric_of
from results.figures.shown import Shown
from results.figures.style import COLUMN, theme
from results.statistics.comparison import sign
from results.tables import Table
from results.tables.naming import brief

ONCE = "*"  # marks a score of one seed
ROW = 0.17  # inches
LIGHT = sns.blend_palette(["white", "#8dbbdc", "#3f86bd"], as_cmap=True)  # black text is read on it


def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the heat map of a table with two methods or more."""
    if len(shown.table.methods) > 1 and shown.table.columns:
        yield "", draw(shown.table)


def gaps(table: Table) -> np.ndarray:
    """Return (M, N): how far each score is behind the best of its column, NaN without a score.

    In points where every column is x 100; otherwise as a share of the column's largest gap.
    """
    means = [[table.scores[m, c].mean for c in table.columns] for m in table.methods]
    scores = np.array(means, dtype=float) * [sign(c) for c in table.columns]  # None is NaN
    behind = np.array([_behind(column) for column in scores.T]).T
    if all(metric_of(c.metric).is_share for c in table.columns):
        return behind
    most = np.array([np.nanmax(g) if np.isfinite(g).any() else np.nan for g in behind.T])
    return behind / np.where(most > 0, most, 1)


def _behind(scores: np.ndarray) -> np.ndarray:
    return (np.nanmax(scores) if np.isfinite(scores).any() else np.nan) - scores


def order(behind: np.ndarray) -> list[int]:
    """Return the rows, those with a score everywhere first, then by their mean gap."""
    lacks = np.isnan(behind).sum(1)
    means = [np.nanmean(row) if np.isfinite(row).any() else np.inf for row in behind]
    return sorted(range(len(behind)), key=lambda i: (lacks[i], means[i], i))


def draw(table: Table) -> Figure:
    """Return the heat map, methods by their mean gap; where no score is, its reason."""
    theme()
    behind = gaps(table)
    rows = order(behind)
    names = [brief(table.methods[i], table.methods) for i in rows]
    width = 0.9 + 0.065 * max(map(len, names)) + 0.42 * len(table.columns)
    size = (max(COLUMN, width), 1.5 + ROW * len(rows))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    texts = [[_text(table, table.methods[i], c) for c in table.columns] for i in rows]
    points = all(metric_of(c.metric).is_share for c in table.columns)
    unit = "points behind best" if points else "share of largest gap"
    mesh = axes.pcolormesh(behind[rows], cmap=LIGHT, vmin=0, edgecolors="0.85", linewidth=0.6)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axes, label=unit, aspect=8 + len(rows))
    bar.outline.set_visible(False)
    axes.set_facecolor("0.95")
    _write(axes, texts, behind[rows])
    once = f"  ({ONCE} one seed)" if any(ONCE in text for row in texts for text in row) else ""
    axes.set_title(f"{table.name} at {table.image_size} px{once}", pad=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _columns(axes, table)
    return figure


def _write(axes: Axes, texts: list[list[str]], behind: np.ndarray) -> None:
    """Write the scores, the best of a column bold; reasons in grey."""
    for (y, x), gap in np.ndenumerate(behind):
        text = axes.text(x + 0.5, y + 0.5, texts[y][x], size=6.5, ha="center", va="center")
        if np.isnan(gap):
            text.set(color="0.45", size=5.5)
        elif gap == 0:
            text.set(weight="bold")


def _text(table: Table, method: str, column: object) -> str:
    score = table.scores[method, column]  # type: ignore[index]
    if score.mean is None:
        return score.reason
    return f"{score.mean:.{score.decimals}f}" + ONCE * (score.num_seeds == 1)


def _columns(axes: Axes, table: Table) -> None:
    """Label the columns by share and labels, and below them each data set once."""
    axes.set_xticks(np.arange(len(table.columns)) + 0.5)
    axes.set_xticklabels([f"{c.share}\n({c.labels})" for c in table.columns], rotation=0, size=6.5)
    datasets = [c.name for c in table.columns]
    for dataset in dict.fromkeys(datasets):
        places = [i for i, name in enumerate(datasets) if name == dataset]
        column = table.columns[places[0]]
        mark = "\nsynthetic" if column.synthetic else ""
        label = f"{dataset}\n{metric_of(column.metric).display}{mark}"
        middle = (places[0] + places[-1] + 1) / 2
        axes.annotate(
            label,
            (middle, 0),
            (0, -25),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            size=7,
        )
        if places[0]:
            axes.axvline(places[0], color="0.3", linewidth=1)
