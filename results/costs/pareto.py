"""The Pareto front of scores over parameter counts."""

from __future__ import annotations

from collections.abc import Sequence


def pareto(points: Sequence[tuple[int, float]], *, less: bool = False) -> list[tuple[int, float]]:
    """Return the points that no other beats with as few parameters, by parameters.

    `less`: a lower score is better.
    """
    sign = -1 if less else 1
    front: list[tuple[int, float]] = []
    # of equally many parameters the best comes first, and the others do not beat it
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front
