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

from results.comparison import sign
from results.direction import scale
from results.figures import COLUMN, theme
from results.pictures.shown import Shown
from results.tables import Table, short

ROW = 0.17  # inches


def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the heat map of a table with two methods or more."""
    if len(shown.table.methods) > 1 and shown.table.columns:
        yield "", draw(shown.table)


def gaps(table: Table) -> np.ndarray:
    """Return (M, N): how far each score is behind the best of its column, NaN without a score.

    In points where every column is x 100; otherwise as a share of the column's largest gap.
    """
    scores = np.array(
        [
            [
                np.nan if (s := table.scores[m, c].mean) is None else sign(c) * s
                for c in table.columns
            ]
            for m in table.methods
        ],
        dtype=float,
    )
    behind = np.array([_behind(column) for column in scores.T]).T
    if all(scale(c.metric) == 100 for c in table.columns):
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
    """Return the heat map, methods in the order of their mean gap; gaps in data say what they are."""
    theme()
    behind = gaps(table)
    rows = order(behind)
    names = [short(table.methods[i], table.methods) for i in rows]
    size = (max(COLUMN, 1.6 + 0.42 * len(table.columns)), 1.15 + ROW * len(rows))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    texts = [[_text(table, table.methods[i], c) for c in table.columns] for i in rows]
    points = all(scale(c.metric) == 100 for c in table.columns)
    sns.heatmap(
        behind[rows],
        cmap="cividis_r",
        linewidths=0.6,
        yticklabels=names,
        ax=axes,
        cbar_kws={
            "label": "points behind best" if points else "share of largest gap",
            "aspect": 30,
        },
    )
    axes.set_facecolor("0.93")
    _write(axes, texts, behind[rows])
    axes.set_title(f"{table.backbone} at {table.image_size} px", pad=8)
    axes.tick_params(length=0)
    axes.tick_params(axis="y", labelrotation=0)
    _columns(axes, table)
    return figure


def _write(axes: Axes, texts: list[list[str]], behind: np.ndarray) -> None:
    """Write the scores, dark on light and light on dark; reasons in grey."""
    most = np.nanmax(behind, initial=0.0)
    for (y, x), gap in np.ndenumerate(behind):
        colour = "0.4" if np.isnan(gap) else "black" if gap <= 0.5 * most else "white"
        size = 5.5 if np.isnan(gap) else 6.5
        place = {"ha": "center", "va": "center"}
        axes.text(x + 0.5, y + 0.5, texts[y][x], size=size, color=colour, **place)


def _text(table: Table, method: str, column: object) -> str:
    score = table.scores[method, column]  # type: ignore[index]
    return f"{score.mean:.1f}" if score.mean is not None else score.reason


def _columns(axes: Axes, table: Table) -> None:
    """Label the columns by share and labels, and below them each data set once."""
    axes.set_xticks(np.arange(len(table.columns)) + 0.5)
    axes.set_xticklabels([f"{c.share}\n({c.labels})" for c in table.columns], rotation=0, size=6.5)
    datasets = [c.dataset for c in table.columns]
    for dataset in dict.fromkeys(datasets):
        places = [i for i, name in enumerate(datasets) if name == dataset]
        column = table.columns[places[0]]
        mark = "\nsynthetic" if column.synthetic else ""
        label = f"{dataset}\n{column.metric.replace('_', ' ')}{mark}"
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
            axes.axvline(places[0], color="white", linewidth=3)
