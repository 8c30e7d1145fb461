"""Training cells in several processes of this machine.

Yields the same outcomes as `inline`, in the order in which cells end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from benchmark.core.cell import Cell
from benchmark.core.settings import Settings
from benchmark.execution.one import Outcome
from benchmark.execution.workers import KILLED, Place, Worker, num_cores, num_gpus, processes_on

TRIES = 3  # processes that a cell may kill


def local(
    cells: Sequence[Cell],
    runs: Path,
    cache: Path,
    sources: dict[str, str],
    jobs: int,
    settings: Settings | None = None,
) -> Iterator[Outcome]:
    """Train `cells` in `jobs` processes, which share out GPUs and cores.

    A process that is killed costs nothing but its time: the cell goes on from its checkpoint in a
    new one; after `TRIES` it is "failed", and to do next time. When the caller ends or is killed,
    the processes write checkpoints and end.
    """
    jobs = min(jobs, len(cells))
    threads, gpus = max(1, num_cores() // max(1, jobs)), num_gpus()
    settings = settings or Settings()
    workers = []
    for number in range(jobs):
        shared = replace(settings, processes_per_gpu=processes_on(number, jobs, gpus))
        workers.append(Worker(Place(runs, cache, sources, number, threads, shared)))
    try:
        yield from _shared_out(deque((cell, 0) for cell in cells), workers)
    finally:
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.process.join()


def _shared_out(left: deque[tuple[Cell, int]], workers: list[Worker]) -> Iterator[Outcome]:
    while left or any(worker.order for worker in workers):
        for worker in workers:
            if left and not worker.order:
                worker.give(*left.popleft())
        busy = {worker.pipe: worker for worker in workers if worker.order}
        for pipe in wait(list(busy)):  # until one says something or dies
            outcome, deaths = busy[pipe].take()  # type: ignore[index]
            if outcome.state != KILLED:
                yield outcome
            elif deaths < TRIES:
                left.appendleft((outcome.cell, deaths))
            else:
                yield replace(outcome, state="failed", reason=f"its process was killed {deaths} x")
