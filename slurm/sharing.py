"""Which cells share a job: about a quarter of an hour each, by `benchmark.estimate`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.core.cell import Cell
from benchmark.sweep.estimate import Estimate

TARGET_S = 900.0  # of a job: long beside its start, short beside a time limit
UNKNOWN_S = 300.0  # of a cell that nothing is known of


def batches(
    cells: Sequence[Cell], per_job: str, estimate: Estimate, *, target_s: float = TARGET_S
) -> list[list[Cell]]:
    """Return `cells` in batches that share a warm process; "auto" fills `target_s` seconds.

    Cells of one backbone, data set and size stand together.
    """
    ordered = sorted(cells, key=lambda c: (c.backbone, c.dataset, c.image_size))
    if per_job != "auto":
        size = int(per_job)
        return [list(ordered[i : i + size]) for i in range(0, len(ordered), size)]
    found: list[list[Cell]] = []
    filled = math.inf
    for cell in ordered:
        seconds = estimate.seconds(cell) or UNKNOWN_S
        if filled + seconds > target_s:
            found.append([])
            filled = 0.0
        found[-1].append(cell)
        filled += seconds
    return found
