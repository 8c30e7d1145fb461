"""The critical-difference diagram of average ranks (Demsar 2006, figure 1)."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.figures.shown import Shown, kind
from results.figures.style import new
from results.statistics.ranks import Ranking

STEP = 0.45  # between two names, in units of one rank of a ten-rank axis


@kind(
    "ranks",
    "the critical-difference diagram of average ranks",
    "a ranking takes three methods with a score in each of two data sets or more",
    default=True,
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the diagram of a table with a test of its ranks."""
    ranking = shown.statistics.tested if shown.statistics else None
    if ranking is not None and ranking.critical_difference is not None:
        yield "", draw(shown, ranking)


def draw(shown: Shown, ranking: Ranking) -> Figure:
    """Return the diagram: the best on the right, a bar over methods that are not separated."""
    order = sorted(zip(ranking.ranks, ranking.methods, strict=True))
    bars = ranking.together()
    rows = (len(order) + 1) // 2
    start = -(len(bars) * 0.25 + 0.4)
    low = start - rows * STEP
    figure, grid = new(size=(shown.width, 0.5 + 0.32 * -low), layout="none")
    axes = grid[0, 0]
    axes.set_xlim(len(order) + 0.2, 0.8)  # rank 1 on the right
    axes.set_ylim(low, 1.1)
    axes.axis("off")
    _scale(axes, len(order), ranking.critical_difference or 0.0)
    for place, (rank, method) in enumerate(order):
        best = place < rows
        y = start - STEP * (place if best else len(order) - 1 - place)
        edge = 0.8 if best else len(order) + 0.2
        colour = shown.looks[method].colour
        axes.plot([rank, rank, edge], [0, y, y], color=colour, linewidth=1.2)
        name = f" {shown.name(method)} ({rank:.1f}) "
        axes.text(edge, y, name, ha="left" if best else "right", va="center", fontsize=7)
    places = {method: rank for rank, method in order}
    for number, members in enumerate(bars):
        span = [places[m] for m in members]
        y = -0.25 * (number + 1)
        axes.plot([min(span) - 0.06, max(span) + 0.06], [y, y], color="0.1", linewidth=2.5)
    if shown.titles:
        axes.set_title(f"{shown.place}: average rank over {ranking.num_blocks} data sets")
    return figure


def _scale(axes: Axes, num_methods: int, difference: float) -> None:
    """Draw the axis of ranks and the length of the critical difference above it."""
    axes.plot([1, num_methods], [0, 0], color="0.1", linewidth=1)
    for rank in range(1, num_methods + 1):
        axes.plot([rank, rank], [0, 0.08], color="0.1", linewidth=1)
        axes.text(rank, 0.14, str(rank), ha="center", va="bottom", fontsize=7)
    ends = [num_methods, num_methods - difference]
    axes.plot(ends, [0.72, 0.72], color="0.1", linewidth=1.5, clip_on=False)
    for end in ends:
        axes.plot([end, end], [0.66, 0.78], color="0.1", linewidth=1.5)
    text = f"critical difference {difference:.2f}"
    axes.text(sum(ends) / 2, 0.8, text, ha="center", va="bottom", fontsize=7)
