"""How `run` has its cells trained: here, in local workers, or by Slurm."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.registry import InputError

if TYPE_CHECKING:
    from benchmark.progress import Display
    from benchmark.spec import Cell
    from slurm.submit import Order

EXECUTORS = ("inline", "local", "slurm")
Failures = list[tuple[str, str]]
POLL_S = 5.0


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the executors."""
    parser.add_argument("--executor", choices=EXECUTORS, default="inline")
    parser.add_argument("--jobs", type=int, default=2, help="processes of --executor local")
    slurm = parser.add_argument_group("with --executor slurm")
    slurm.add_argument("--slurm", default="", metavar="NAME=VALUE,...", help="partition, ...")
    slurm.add_argument("--max-parallel", type=int, default=64, help="jobs that run at once")
    slurm.add_argument("--cells-per-job", default="auto", help="a number; auto: about 15 minutes")
    slurm.add_argument("--probe", action="store_true", help="measure time and memory here first")
    slurm.add_argument("--wait", action="store_true", help="until all ends; resubmit what died")


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for numbers that make no sense."""
    if arguments.jobs < 1 or arguments.max_parallel < 1:
        raise InputError("--jobs and --max-parallel must be above 0")
    per_job = arguments.cells_per_job
    if per_job != "auto" and not (per_job.isdigit() and int(per_job)):
        raise InputError(f"--cells-per-job {per_job!r} must be a number above 0, or auto")


def train(
    cells: Sequence[Cell], sources: dict[str, str], arguments: argparse.Namespace
) -> Failures:
    """Train `cells` on this machine and return (slug, reason) of those that failed."""
    from benchmark.executors import Listener, inline, local
    from benchmark.session import Session

    runs = arguments.runs
    if not cells:
        return []
    failures: Failures = []
    with _display(cells, arguments) as display:
        if arguments.executor == "local":
            outcomes = local(cells, runs, runs / "cache", sources, arguments.jobs)
        else:
            session = Session(cache=runs / "cache", sources=sources)
            outcomes = inline(cells, session, runs, Listener(display.start, display.step))
        for outcome in outcomes:
            if outcome.state == "failed":
                failures.append((outcome.cell.slug, outcome.reason))
                display.fail(outcome.cell, outcome.reason)
            else:
                display.finish(outcome.cell, outcome.record)
    return failures


@contextmanager
def _display(cells: Sequence[Cell], arguments: argparse.Namespace) -> Iterator[Display]:
    from benchmark.estimate import Forecast, read
    from benchmark.progress import Display

    forecast = Forecast(list(cells), read(arguments.runs), _jobs(cells, arguments))
    with Display(forecast) as display:
        yield display


def _jobs(cells: Sequence[Cell], arguments: argparse.Namespace) -> int:
    return min(arguments.jobs, len(cells)) if arguments.executor == "local" else 1


def forecast(cells: Sequence[Cell], arguments: argparse.Namespace) -> str:
    """Return what training `cells` on this machine will take, as far as records tell."""
    from benchmark import estimate

    return estimate.sentence(cells, estimate.read(arguments.runs), _jobs(cells, arguments))


def order(cells: Sequence[Cell], sources: dict[str, str], arguments: argparse.Namespace) -> Order:
    """Return what would be submitted for `cells`; memory as measured where nothing is asked for."""
    from dataclasses import replace

    from slurm import estimate, probe
    from slurm.resources import parse
    from slurm.submit import Order, absolute

    known = estimate.read(arguments.runs)
    if arguments.probe and probe.probe(cells, sources, arguments.runs, known):
        known = estimate.read(arguments.runs)
    resources = parse(arguments.slurm)
    mib = known.mib(cells)
    if resources.mem_gb is None and mib is not None:
        resources = replace(resources, mem_gb=int(1.5 * mib * resources.tasks / 1024) + 1)
    batches = estimate.batches(cells, arguments.cells_per_job, known)
    return absolute(Order(batches, sources, arguments.runs, resources, arguments.max_parallel))


def describe(order: Order) -> str:
    """Return the plan of a submission: jobs, predicted time, and the script for sbatch."""
    from slurm import estimate, submit

    cells = [cell for batch in order.batches for cell in batch]
    seconds, unknown = estimate.read(order.runs).total_s(cells)
    first = min(len(order.batches), 1000)
    name, logs = "bench-SWEEP-0", order.runs / "sweeps" / "SWEEP" / "logs"
    text = submit.sbatch_text(order, name, first, logs.parent / "code", logs)
    hours = seconds / 3600 * max(1, order.resources.gpus_per_node)
    unit = "GPU-hours" if order.resources.gpus_per_node else "hours"
    guess = f"{hours:.2f} {unit} for {len(cells) - unknown} cells"
    if unknown:
        guess += f"; nothing is known of {unknown} (--probe measures them)"
    judged = ""
    if shutil.which("sbatch"):
        submit.check(order, first)
        judged = "\nsbatch --test-only accepts it"
    return f"{len(cells)} cells in {len(order.batches)} jobs; predicted: {guess}\n\n{text}{judged}"


def send(cells: Sequence[Cell], sources: dict[str, str], arguments: argparse.Namespace) -> int:
    """Submit `cells` that are not in the queue yet; prepare here what nodes without network need.

    Returns the number of cells submitted.
    """
    from slurm import queue, submit

    waiting = queue.queued(arguments.runs, queue.waiting())
    fresh = [cell for cell in cells if cell.slug not in waiting]
    if len(fresh) < len(cells):
        print(f"{len(cells) - len(fresh)} cells are in the queue already")
    if fresh:
        _prefetch(fresh, sources, arguments.runs)
        wanted = order(fresh, sources, arguments)
        name, jobs = submit.submit(wanted)
        print(f"{len(fresh)} cells in {len(wanted.batches)} jobs, sweep {name}: {', '.join(jobs)}")
    return len(fresh)


def _prefetch(cells: Sequence[Cell], sources: dict[str, str], runs: Path) -> None:
    """Fetch weights and decode images, so that a node finds them on the disk."""
    from benchmark import backbones
    from benchmark.session import Session

    for backbone in dict.fromkeys(cell.backbone for cell in cells):
        backbones.prefetch(sources.get(backbone, backbone))
    session = Session(cache=runs / "cache", sources=sources)
    for cell in {(c.dataset, c.image_size): c for c in cells}.values():
        session.data(cell)


def await_queue(runs: Path) -> None:
    """Return when no job of the sweeps below `runs` is in the queue."""
    from slurm import queue

    names = {sweep.name for sweep in queue.sweeps(runs)}
    while any(job.sweep in names for job, _ in queue.waiting()):
        time.sleep(POLL_S)
