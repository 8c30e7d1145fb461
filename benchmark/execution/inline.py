"""Training cells one after the other in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.cell import Cell
from benchmark.execution.one import Outcome, finished, train
from benchmark.training.session import Session

POLL_S = 2.0


@dataclass(frozen=True)
class Listener:
    """Told which cell starts, and the steps done; `step` answers true to stop the training."""

    start: Callable[[Cell], object] = lambda cell: None
    step: Callable[[int], object] = lambda step: None


def inline(
    cells: Sequence[Cell],
    session: Session,
    runs: Path,
    listener: Listener | None = None,
    *,
    waits: Callable[[Path], bool] = lambda folder: True,
) -> Iterator[Outcome]:
    """Train `cells` one after the other, then wait for those that somebody else is training.

    Cells whose folder `waits` answers false for are left to whoever trains them.
    """
    listener, left = listener or Listener(), list(cells)
    while left:
        taken = []
        for cell in left:
            listener.start(cell)
            outcome = finished(cell, runs) or train(cell, session, runs, listener.step)
            if outcome.state != "taken":
                yield outcome
            elif waits(cell.folder(runs)):
                taken.append(cell)
        if len(taken) == len(left):
            time.sleep(POLL_S)
        left = taken
