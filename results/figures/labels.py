"""Label-efficiency curves: score against the number of labels, a line per method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from results.figures.shown import Shown, kind, unit_of
from results.figures.style import MOST, PAGE, explain, new, open_axes, parts
from results.tables import Column

DODGE = 0.012  # of the axis, between the error bars of two methods


@kind(
    "labels",
    "score against the number of labels",
    "no data set has two label fractions of one method, with known numbers of labels",
    default=True,
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the curves of each data set with several label fractions."""
    for name, found in shown.datasets.items():
        columns = [c for c in found if c.labels]  # of scores of others the number may be unknown
        methods = [m for m in shown.table.methods if len(_points(shown, m, columns)) > 1]
        if methods:
            yield name, draw(shown, columns, methods)


def _points(
    shown: Shown, method: str, columns: Sequence[Column]
) -> list[tuple[int, float, float | None]]:
    """Return (labels, mean, deviation) of each column that has a number."""
    scores = [(c.labels, shown.table.scores[method, c]) for c in columns]
    return [(labels, s.mean, s.spread) for labels, s in scores if s.mean is not None]


def draw(shown: Shown, columns: Sequence[Column], methods: Sequence[str]) -> Figure:
    """Return the curves with bars of one deviation, side by side where they would hide each other.

    More than `MOST` methods are drawn in panels, in each of which the others are grey.
    """
    panels = parts(methods)
    across = min(len(panels), 2 if shown.width >= PAGE else 1)
    rows = -(-len(panels) // across)
    figure, grid = new(
        rows, across, (shown.width, 2.6 * rows + 0.02 * MOST), sharex=True, sharey=True
    )
    span = np.log(columns[-1].labels / columns[0].labels)
    for axes, drawn in zip(grid.flat, panels, strict=False):
        open_axes(axes)
        for method in (m for m in methods if m not in drawn):
            x, y, _ = zip(*_points(shown, method, columns), strict=True)
            axes.plot(x, y, color="0.85", linewidth=0.8, zorder=1)
        for number, method in enumerate(drawn):
            points = _points(shown, method, columns)
            # shifted by a factor, since the axis is logarithmic: the same distance at every place
            shift = np.exp(DODGE * span * (number - (len(drawn) - 1) / 2))
            axes.errorbar(
                [labels * shift for labels, _, _ in points],
                [mean for _, mean, _ in points],
                yerr=[spread or 0.0 for _, _, spread in points],
                **shown.looks[method].style,
                elinewidth=0.7,
                label=shown.name(method),
            )
        axes.set_xscale("log")
        axes.set_xticks([c.labels for c in columns], [f"{c.labels}\n{c.share}" for c in columns])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncol=3 if shown.width / across < 5 else 5,
            frameon=False,
            columnspacing=1.0,
            handletextpad=0.4,
        )
    for unused in list(grid.flat)[len(panels) :]:
        unused.set_visible(False)
    figure.supylabel(f"test {unit_of(columns[0])}", fontsize=8)
    if title := shown.title(columns[0], share=False):
        figure.suptitle(title, fontsize=8)
    # a point alone shows no curve, but who misses a method must see where it went
    single = sum(len(_points(shown, m, columns)) == 1 for m in shown.table.methods)
    left = f"not drawn: {single} with one fraction" if single else ""
    axis = "x: labels used, for training and validation"
    grey = "grey: the methods of the other panels" if len(panels) > 1 else ""
    explain(figure, "; ".join(filter(None, [axis, shown.spread(columns), grey, left])))
    return figure
