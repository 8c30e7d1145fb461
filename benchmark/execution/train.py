"""Training cells on this machine: decoded first, then one after the other or in workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmark import backbones
from benchmark.core.cell import Cell
from benchmark.core.numbers import COUNT
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.execution.display import Display
from benchmark.execution.inline import Hooks, inline
from benchmark.execution.local import local
from benchmark.execution.one import Outcome
from benchmark.execution.signals import Bell
from benchmark.execution.workers import num_gpus
from benchmark.sweep.estimate import Forecast
from benchmark.training import compiled
from benchmark.training.checkpoint import Interrupted
from benchmark.training.session import Session, best_device, check_card

JOBS = 2  # worker processes where there is no GPU
# Of a process that trains nothing itself: it would hold memory of a GPU as long as others train
# there, and one that its owner lets a single process use would be taken.
CPU = torch.device("cpu")


def num_jobs(executor: str, jobs: int | str | None, num_cells: int, pack: int = 1) -> int:
    """Return how many processes share the cells.

    A number that was asked for; with "auto" `pack` per GPU, with None one; without a GPU `JOBS`.
    """
    if executor != "local":
        return 1
    per_gpu = pack if jobs == "auto" else 1
    asked = 0 if jobs in (None, "auto") else int(jobs)
    return max(1, min(asked or per_gpu * num_gpus() or JOBS, num_cells))


def check_jobs(executor: str, jobs: int | str | None) -> None:
    """Raise InputError for a number of processes below 1, or where there are no processes."""
    if jobs is None:
        return
    if executor != "local":
        raise InputError(f"jobs {jobs!r} is for the executor 'local', not {executor!r}")
    if jobs != "auto":
        COUNT.read(jobs, "jobs")


def train(
    cells: Sequence[Cell],
    runs: Path,
    sources: dict[str, str],
    settings: Settings,
    forecast: Forecast,
    *,
    executor: str = "inline",
) -> list[Outcome]:
    """Train `cells`, show how far it is, and return how each ended; one that fails stops no other.

    `executor` is "inline" (this process) or "local" (`forecast.jobs` processes).

    Raises:
        InputError: images that cannot be read, before anything is trained.
        DeviceLost: the GPU failed in a cell of this process.
        KeyboardInterrupt: on SIGINT or SIGTERM, after the step and its checkpoint.
    """
    outcomes, cache = [], runs / "cache"
    compiled.check(settings, best_device())
    with Display(forecast) as display:
        if executor == "local":
            for number in range(torch.cuda.device_count()):
                check_card(torch.device("cuda", number))  # here: a worker would only die of it
            decode(cells, Session(cache, sources, CPU))
            display.wait()
            ended = local(cells, runs, cache, sources, forecast.jobs, settings)
        else:
            session = Session(cache, sources, settings=settings)
            decode(cells, session)
            ended = _interruptible(cells, session, runs, display)
        for outcome in ended:
            outcomes.append(outcome)
            display.end(outcome)
    return outcomes


def _interruptible(
    cells: Sequence[Cell], session: Session, runs: Path, display: Display
) -> Iterator[Outcome]:
    with Bell(signal.SIGINT, signal.SIGTERM) as bell:

        def start(cell: Cell) -> None:
            bell.check(cell)
            display.start(cell)

        def step(number: int) -> bool:
            display.step(number)
            return bell.answer(number)

        try:
            yield from inline(cells, session, runs, Hooks(start, step))
        except Interrupted:
            raise KeyboardInterrupt from None


def prefetch(cells: Sequence[Cell], runs: Path, sources: dict[str, str]) -> None:
    """Fetch weights and decode images: nodes find them on the disk and need no network."""
    for backbone in dict.fromkeys(cell.backbone for cell in cells):
        backbones.prefetch(sources.get(backbone, backbone))
    decode(cells, Session(runs / "cache", sources, CPU))


def decode(cells: Sequence[Cell], session: Session) -> None:
    """Decode the images of `cells`: what cannot be read is reported before any training."""
    drawn = {
        (c.dataset, c.image_size, c.fraction, c.split_seed, c.shots, c.subset): c for c in cells
    }
    for cell in drawn.values():
        session.decoded(cell)
