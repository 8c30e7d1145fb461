"""How long a cell trains, when it is scored and at which rate: the same for every method.

Two protocols. With equal steps (a cell's `patience` is 0) the rate falls as a cosine to 0 at the
last step. Until converged (`patience` P > 0) it stays at its peak until P evaluations in a row
brought nothing better, and falls to 0 over the next P, with which training ends; `steps` is the
most that is done. Where a run will end is not known when it starts, so a cosine would stop some
methods at a high rate and others at a low one: a constant rate with a decay at the end can be
stopped anywhere, and does as well (Hu et al. 2024, arXiv:2404.06395, "warm-up, stable, decay";
Hägele et al. 2024, arXiv:2405.18392, whose decay 1 - sqrt(t) is taken).
"""

from __future__ import annotations

import math
from functools import lru_cache

from benchmark.core.cell import Cell


@lru_cache(8)  # asked in every step
def evaluation_steps(cell: Cell) -> tuple[int, ...]:
    """Return after which steps the validation set is scored: evenly spaced, the last included."""
    count = min(cell.evaluations, cell.steps)
    return tuple(round(cell.steps * (i + 1) / count) for i in range(count))


def decay_start(cell: Cell, step: int, selected_step: int) -> int:
    """Return `step` where the rate begins to fall after the evaluation at it, else 0.

    That is where `patience` evaluations ranked no higher than that at `selected_step`, and at the
    latest where the decay still ends within the most steps. 0 under equal steps.
    """
    if not cell.patience:
        return 0
    points = evaluation_steps(cell)
    stale = points.index(step) - points.index(selected_step) >= cell.patience
    return step if stale or step >= points[-1 - cell.patience] else 0


def last_step(cell: Cell, decays_from: int) -> int:
    """Return the number of steps that are done in all, as far as is known yet."""
    if not decays_from:
        return cell.steps
    points = evaluation_steps(cell)
    return points[points.index(decays_from) + cell.patience]


def learning_rate(step: int, cell: Cell, decays_from: int = 0) -> float:
    """Return the rate of optimiser step 0, 1, ...; `decays_from` is what `decay_start` said.

    The linear warm-up takes a share of all steps or, until converged, of the steps
    of the first `patience` evaluations: the maximum is not the length that a run will have.
    """
    length = evaluation_steps(cell)[cell.patience - 1] if cell.patience else cell.steps
    warm = max(1, round(cell.warmup * length))
    if step < warm:
        return cell.lr * (step + 1) / warm
    if not cell.patience:
        return cell.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, cell.steps - warm)))
    if not decays_from or step < decays_from:
        return cell.lr
    end = last_step(cell, decays_from)
    return cell.lr * (1 - math.sqrt((step - decays_from) / (end - decays_from)))
