"""Score against the number of trials: what a smaller search would have got."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.figures.shown import Shown, kind, unit_of
from results.figures.style import explain, new, open_axes, parts
from results.tables import Column
from results.tables.trials import curves


@kind(
    "trials", "score against the number of trials", "no method has several trials (--tune-budget)"
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the curves of each data set with more than one trial of some method."""
    here = shown.of_table()
    for column in shown.last:
        if found := curves(here, column):
            yield column.name, draw(shown, column, found)


def draw(shown: Shown, column: Column, found: dict[str, np.ndarray]) -> Figure:
    """Return the expected test score of the trial that is best on validation among k."""
    panels = parts(list(found))
    figure, grid = new(len(panels), 1, (shown.width, 2.5 * len(panels)), sharex=True, sharey=True)
    for axes, drawn in zip(grid.flat, panels, strict=True):
        open_axes(axes)
        for method, curve in found.items():
            x = np.arange(1, len(curve) + 1)
            if method in drawn:
                axes.plot(x, curve, **shown.looks[method].style, label=shown.name(method))
            else:
                axes.plot(x, curve, color="0.85", linewidth=0.8, zorder=1)
        # half a trial does not exist
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.22),
            ncol=3,
            frameon=False,
            columnspacing=1.0,
        )
    grid.flat[-1].set_xlabel("trials")
    figure.supylabel(f"expected test {unit_of(column)}", fontsize=8)
    if title := shown.title(column):
        figure.suptitle(title, fontsize=8)
    explain(figure, "of so many trials that which is best on validation, over all choices")
    return figure
