"""Score against trained parameters, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmark.scores import metric_of
from results.costs.pareto import pareto
from results.figures.shown import Shown, kind, unit_of
from results.figures.style import PAGE, explain, new, open_axes, parts
from results.tables import Column


@kind(
    "parameters",
    "score against trained parameters",
    "no method has a score and a number of trained values",
    default=True,
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the figure of each data set, at the column with the most labels."""
    for column in shown.last:
        scores = {m: shown.table.scores[m, column] for m in shown.table.methods}
        known = [m for m, s in scores.items() if s.mean is not None]
        known = [m for m in known if not math.isnan(shown.table.costs[m].trained)]
        if known:
            yield column.name, draw(shown, column, known)


def draw(shown: Shown, column: Column, methods: Sequence[str]) -> Figure:
    """Return score against trained parameters (log), the Pareto front as a grey line."""
    table = shown.table
    places = {m: (int(table.costs[m].trained), table.scores[m, column].mean or 0) for m in methods}
    front = pareto(list(places.values()), less=metric_of(column.metric).lower_is_better)
    panels = parts(methods)
    across = min(len(panels), 2 if shown.width >= PAGE else 1)
    rows = -(-len(panels) // across)
    figure, grid = new(rows, across, (shown.width, 2.6 * rows), sharex=True, sharey=True)
    for axes, drawn in zip(grid.flat, panels, strict=False):
        open_axes(axes)
        axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, label="Pareto front")
        # grey, so that a panel can be read against all methods
        others = [places[m] for m in methods if m not in drawn]
        if others:
            axes.plot(*zip(*others, strict=True), ".", color="0.8", zorder=1)
        for method in drawn:
            look = shown.looks[method]
            axes.errorbar(
                *places[method],
                yerr=table.scores[method, column].spread,
                color=look.colour,
                marker=look.marker,
                markersize=5,
                elinewidth=0.9,
                linestyle="none",
                label=shown.name(method),
            )
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            ncol=3 if shown.width / across < 5 else 5,
            frameon=False,
            columnspacing=1.0,
            handletextpad=0.4,
        )
    for unused in list(grid.flat)[len(panels) :]:
        unused.set_visible(False)
    scale_counts(grid.flat[0], [x for x, _ in places.values()])
    figure.supylabel(f"test {unit_of(column)}", fontsize=8)
    if title := shown.title(column):
        figure.suptitle(title, fontsize=8)
    grey = "grey dots: the methods of the other panels" if len(panels) > 1 else ""
    axis = "x: trained values without the head"
    explain(figure, "; ".join(filter(None, [axis, shown.spread([column]), grey])))
    return figure


def scale_counts(axes: Axes, values: Sequence[int]) -> None:
    """Make x logarithmic over `values`, with a place for 0 (a linear probe) at the left."""
    positive = [x for x in values if x > 0] or [1]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    # few decades: ticks between the powers of ten as well, or there would be one or two
    steps = (1, 2, 5) if high - low < 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [factor * 10**power for power in powers for factor in steps]
    if min(values) > 0:
        axes.set_xscale("log")
        edge = max(0.08 * (high - low), 0.1)
        axes.set_xlim(10 ** (low - edge), 10 ** (high + edge))
    else:
        first = 10 ** math.floor(low)
        axes.set_xscale("symlog", linthresh=first, linscale=0.5)
        axes.set_xlim(-first / 3, max(positive) * 3)
        ticks = [0, *(t for t in ticks if t >= first)]
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if left <= t <= right]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: counted(value)))


def counted(value: float) -> str:
    """Return a count in the least letters: 0, 600, 20k, 1M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"
