"""Where cells are trained: in this process, or in several on this machine.

Both yield the same outcomes in the order in which cells end.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.session import Session
from benchmark.spec import Cell
from benchmark.work import Outcome, finished, train

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


_session: Session | None = None


def _open(cache: Path, sources: dict[str, str], threads: int) -> None:
    """Make the session of a worker: backbone and images stay warm between its cells."""
    global _session
    torch.set_num_threads(threads)
    _session = Session(cache=cache, sources=sources)


def _train(cell: Cell, runs: Path) -> Outcome:
    assert _session is not None
    return next(inline([cell], _session, runs))


def local(
    cells: Sequence[Cell], runs: Path, cache: Path, sources: dict[str, str], jobs: int
) -> Iterator[Outcome]:
    """Train `cells` in `jobs` processes; a process that dies costs its cell, not the others.

    The cores are shared out. A cell whose process was killed is "failed", and to do next time.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")  # a forked child would share torch's threads
    left = list(cells)
    while left:
        arguments = (cache, sources, threads)
        with ProcessPoolExecutor(jobs, context, initializer=_open, initargs=arguments) as pool:
            futures = {pool.submit(_train, cell, runs): cell for cell in left}
            broken = []
            for future in as_completed(futures):
                if future.exception() is None:
                    yield future.result()
                else:
                    broken.append(futures[future])
        # the pool dies as a whole: the first cell of a dead pool is blamed only if it dies alone
        if broken and (len(broken) == 1 or jobs == 1):
            yield Outcome(broken[0], "failed", "its process was killed")
            broken = broken[1:]
        left, jobs = broken, max(1, jobs // 2)
