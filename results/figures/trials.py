"""Score against the number of trials: what a smaller search would have got."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.figures.shown import Shown
from results.figures.style import COLUMN, heading, legend, line, styles, theme, unit_of
from results.tables import Column
from results.tables.trials import curves


def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the curves of each data set with more than one trial of some method."""
    here = shown.of_table()
    for column in shown.last:
        if found := curves(here, column):
            yield column.name, draw(shown, column, found)


def draw(shown: Shown, column: Column, found: dict[str, np.ndarray]) -> Figure:
    """Return the expected test score of the trial that is best on validation among k."""
    theme()
    figure, axes = plt.subplots(figsize=(COLUMN, 2.5))
    look = styles(shown.table.methods)
    for method, curve in found.items():
        colour, marker = look[method]
        x = np.arange(1, len(curve) + 1)
        style = line(shown.table.methods, method)
        axes.plot(x, curve, style, color=colour, marker=marker, label=shown.name(method))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trials")
    axes.set_ylabel(f"expected test {unit_of(column)}", fontsize=7)
    axes.set_title(f"{heading(shown.table, column)}, {column.share} of the labels", fontsize=7)
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    legend(axes)
    return figure
