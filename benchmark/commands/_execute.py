"""How `run` has its cells trained: here, in local workers, or by Slurm."""

from __future__ import annotations

import argparse
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.registry import InputError
from benchmark.core.settings import Settings

if TYPE_CHECKING:
    from benchmark.core.cell import Cell
    from benchmark.execution.display import Display
    from benchmark.execution.one import Outcome
    from benchmark.sweep.estimate import Forecast
    from benchmark.training.session import Session
    from slurm.submit import Order

EXECUTORS = ("inline", "local", "slurm")
Failures = list[tuple[str, str]]
JOBS = 2  # local workers where there is no GPU


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the executors."""
    parser.add_argument("--executor", choices=EXECUTORS, default="inline")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="processes of --executor local (default: one per GPU, else 2)",
    )
    slurm = parser.add_argument_group("with --executor slurm")
    slurm.add_argument("--slurm", default="", metavar="NAME=VALUE,...", help="partition, ...")
    slurm.add_argument("--max-parallel", type=int, default=64, help="jobs that run at once")
    slurm.add_argument("--cells-per-job", default="auto", help="a number; auto: about 15 minutes")
    slurm.add_argument("--probe", action="store_true", help="measure time and memory here first")
    slurm.add_argument("--wait", action="store_true", help="until all ends; resubmit what died")


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for numbers that make no sense."""
    if min(1 if arguments.jobs is None else arguments.jobs, arguments.max_parallel) < 1:
        raise InputError("--jobs and --max-parallel must be above 0")
    per_job = arguments.cells_per_job
    if per_job != "auto" and not (per_job.isdigit() and int(per_job)):
        raise InputError(f"--cells-per-job {per_job!r} must be a number above 0, or auto")


def settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of this command, for the session here, its workers and its jobs."""
    return Settings(peek=arguments.peek, compile=arguments.compile)


def train(
    cells: Sequence[Cell],
    sources: dict[str, str],
    arguments: argparse.Namespace,
    forecast: Forecast,
) -> Failures:
    """Train `cells` on this machine and return (slug, reason) of those that failed."""
    from benchmark.execution.display import Display
    from benchmark.training.session import Session

    failures: Failures = []
    session = Session(arguments.runs / "cache", sources, settings=settings(arguments))
    _decode(cells, session)
    with Display(forecast) as display:
        for outcome in _outcomes(cells, session, arguments, display):
            if outcome.state == "failed":
                failures.append((outcome.cell.slug, outcome.reason))
                display.fail(outcome.cell, outcome.reason)
            else:
                display.finish(outcome.cell, outcome.record)
    return failures


def _outcomes(
    cells: Sequence[Cell], session: Session, arguments: argparse.Namespace, display: Display
) -> Iterator[Outcome]:
    """Train here or in workers; Ctrl-C leaves checkpoints and is raised as KeyboardInterrupt."""
    from benchmark.execution.inline import Listener, inline
    from benchmark.execution.local import local
    from benchmark.execution.signals import Bell
    from benchmark.training.checkpoint import Interrupted

    runs = arguments.runs
    if arguments.executor == "local":
        jobs = _jobs(cells, arguments)
        yield from local(cells, runs, session.cache, session.sources, jobs, session.settings)
        return
    with Bell(signal.SIGINT, signal.SIGTERM) as bell:

        def start(cell: Cell) -> None:
            bell.check(cell)
            display.start(cell)

        def step(steps: int) -> bool:
            display.step(steps)
            return bell.answer(steps)

        listener = Listener(start, step)
        try:
            yield from inline(cells, session, runs, listener)
        except Interrupted:
            raise KeyboardInterrupt from None


def _jobs(cells: Sequence[Cell], arguments: argparse.Namespace) -> int:
    """Return how many processes share the cells: by default one per GPU."""
    if arguments.executor != "local":
        return 1
    import torch

    return min(arguments.jobs or torch.cuda.device_count() or JOBS, len(cells))


def forecast(cells: Sequence[Cell], arguments: argparse.Namespace) -> Forecast:
    """Return what training `cells` on this machine will take, as far as records tell."""
    from benchmark.sweep.estimate import Forecast, read

    return Forecast(list(cells), read(arguments.runs), _jobs(cells, arguments))


def order(cells: Sequence[Cell], sources: dict[str, str], arguments: argparse.Namespace) -> Order:
    """Return what would be submitted for `cells`; memory and time as measured, if not asked for."""
    from benchmark.sweep import estimate
    from slurm import packing, probe
    from slurm.resources import parse
    from slurm.submit import Order, absolute

    known = estimate.read(arguments.runs)
    if arguments.probe and probe.probe(cells, sources, arguments.runs, known):
        known = estimate.read(arguments.runs)
    groups = packing.groups(cells, parse(arguments.slurm), arguments.cells_per_job, known)
    return absolute(
        Order(groups, sources, arguments.runs, arguments.max_parallel, settings(arguments))
    )


def describe(order: Order) -> str:
    """Return the plan of a submission: jobs, predicted time, and a script for sbatch per group."""
    from benchmark.sweep import estimate
    from slurm import submit

    cells = [cell for batch in order.batches for cell in batch]
    seconds, unknown = estimate.read(order.runs).total_s(cells)
    resources = order.groups[0].resources  # gpus and pack are the same for all
    unit = "GPU-hours" if resources.gpus else "hours"
    hours = seconds / 3600 / (resources.pack if resources.gpus else 1)
    guess = f"{hours:.2f} {unit} for {len(cells) - unknown} cells"
    if unknown:
        guess += f"; nothing is known of {unknown} (--probe measures them)"
    limit, judged = 1000, ""
    if shutil.which("sbatch"):
        limit, judged = submit.site_limit(), "\nsbatch --test-only accepts it"
        submit.check(order, limit)
    code = order.runs / "sweeps" / "SWEEP" / "code"
    told = [f"{len(cells)} cells in {len(order.batches)} jobs; predicted: {guess}"]
    for number, group in enumerate(order.groups):
        first = replace(group, batches=group.batches[:limit])
        kinds = sorted({cell.method.partition("(")[0] for batch in group.batches for cell in batch})
        told.append(f"\n# {len(group.batches)} jobs: {', '.join(kinds)}")
        told.append(submit.sbatch_text(order, first, f"bench-SWEEP-{number}", code))
    return "\n".join(told) + judged


def send(cells: Sequence[Cell], sources: dict[str, str], arguments: argparse.Namespace) -> int:
    """Submit `cells` that are not in the queue yet; prepare here what nodes without network need.

    Returns the number of cells submitted.
    """
    from slurm import queue, submit

    with submit.alone(arguments.runs):
        jobs = queue.waiting()
        if lost := queue.orphans(arguments.runs, jobs):
            queue.call("scancel", *lost)
        waiting = queue.queued(arguments.runs, [job for job in jobs if job.job not in lost])
        fresh = [cell for cell in cells if cell.slug not in waiting]
        if len(fresh) < len(cells):
            print(f"{len(cells) - len(fresh)} cells are in the queue already")
        if fresh:
            _prefetch(fresh, sources, arguments.runs)
            wanted = order(fresh, sources, arguments)
            name, ids = submit.submit(wanted)
            print(
                f"{len(fresh)} cells in {len(wanted.batches)} jobs, sweep {name}: {', '.join(ids)}"
            )
    return len(fresh)


def _prefetch(cells: Sequence[Cell], sources: dict[str, str], runs: Path) -> None:
    """Fetch weights and decode images, so that a node finds them on the disk."""
    from benchmark import backbones
    from benchmark.training.session import Session

    for backbone in dict.fromkeys(cell.backbone for cell in cells):
        backbones.prefetch(sources.get(backbone, backbone))
    _decode(cells, Session(cache=runs / "cache", sources=sources))


def _decode(cells: Sequence[Cell], session: Session) -> None:
    """Decode the images of `cells`: what cannot be read is told before any training."""
    for cell in {(c.dataset, c.image_size): c for c in cells}.values():
        session.data(cell)
