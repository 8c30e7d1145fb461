"""Training cells one after the other in this process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.cell import Cell
from benchmark.execution.one import Outcome, finished, train
from benchmark.sweep.claims import read
from benchmark.training.session import Session

POLL_S = 2.0


@dataclass(frozen=True)
class Hooks:
    """Called when a cell starts, and after each step with its number.

    `start` may raise `Interrupted`; `step` returns true to stop the training there.
    """

    start: Callable[[Cell], object] = lambda cell: None
    step: Callable[[int], object] = lambda step: None


def inline(
    cells: Sequence[Cell],
    session: Session,
    runs: Path,
    hooks: Hooks | None = None,
    *,
    waits: Callable[[Path], bool] = lambda folder: True,
) -> Iterator[Outcome]:
    """Train `cells` one after the other, then wait for those that somebody else is training.

    Cells whose folder `waits` answers false for are left to whoever trains them.
    """
    hooks, left = hooks or Hooks(), list(cells)
    has_waited = False
    session.planned = left if len(left) > 1 else session.planned
    while left:
        taken = []
        for cell in left:
            hooks.start(cell)
            outcome = finished(cell, runs) or train(cell, session, runs, hooks.step)
            if outcome.state != "taken":
                yield outcome
            elif waits(cell.folder(runs)):
                taken.append(cell)
        if len(taken) == len(left):
            # who looks at a standing bar wants to know for whom it stands
            if not has_waited and (owner := read(taken[0].folder(runs))):
                sys.stderr.write(
                    f"waiting for {len(taken)} cells that others train, such as "
                    f"{taken[0].slug}: {owner.describe()}\n"
                )
            has_waited = True
            time.sleep(POLL_S)
        left = taken
