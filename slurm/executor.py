"""From cells that are to do to submitted jobs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmark.core.cell import Cell
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.core.spec import base_name
from benchmark.sweep import estimate
from slurm import packing, probe, queue, resources, submit
from slurm.submit import Order


@dataclass(frozen=True)
class Request:
    """What the user asks of the cluster; `resources` as in `--slurm NAME=VALUE,...`."""

    resources: str = ""
    max_parallel: int = 64
    cells_per_job: str | int = "auto"
    probe: bool = False

    @classmethod
    def of(cls, asked: str | Mapping[str, object] | Request) -> Request:
        """Return a request from `--slurm` text, or a dict of resources and of fields of this."""
        if isinstance(asked, Request):
            return asked
        if isinstance(asked, str):
            return cls(asked)
        names = {item.name for item in fields(cls)}
        own: dict[str, Any] = {name: v for name, v in asked.items() if name in names}
        rest = [f"{name}={value}" for name, value in asked.items() if name not in names]
        return cls(**{"resources": ",".join(rest), **own})

    def __post_init__(self) -> None:
        if self.max_parallel < 1:
            raise InputError(f"max_parallel {self.max_parallel} must be above 0")
        per_job = str(self.cells_per_job)
        if per_job != "auto" and not (per_job.isdecimal() and int(per_job)):
            raise InputError(f"cells_per_job {per_job!r} must be a number above 0, or auto")


def order(
    cells: Sequence[Cell],
    runs: Path,
    sources: dict[str, str],
    settings: Settings,
    request: Request,
) -> Order:
    """Return what would be submitted for `cells`; memory and time as measured, if not asked for."""
    known = estimate.read(runs)
    if request.probe and probe.probe(cells, sources, runs, known):
        known = estimate.read(runs)
    asked = resources.parse(request.resources)
    groups = packing.groups(cells, asked, str(request.cells_per_job), known)
    return submit.absolute(Order(groups, sources, runs, request.max_parallel, settings))


def describe(order: Order) -> str:
    """Return the plan of a submission: jobs, predicted time, and a script for sbatch per group."""
    cells = [cell for batch in order.batches for cell in batch]
    seconds, unknown = estimate.read(order.runs).total_s(cells)
    asked = order.groups[0].resources  # gpus and pack are the same for all
    unit = "GPU-hours" if asked.gpus else "hours"
    hours = seconds / 3600 / (asked.pack if asked.gpus else 1)
    guess = f"{hours:.2f} {unit} for {len(cells) - unknown} cells"
    if unknown:
        guess += f"; nothing is known of {unknown} (--probe measures them)"
    limit, judged = 1000, ""
    if shutil.which("sbatch"):
        limit, judged = submit.site_limit(), "\nsbatch --test-only accepts it"
        submit.check(order, limit)
    code = order.runs / "sweeps" / "SWEEP" / "code"
    text = [f"{len(cells)} cells in {len(order.batches)} jobs; predicted: {guess}"]
    for number, group in enumerate(order.groups):
        first = replace(group, batches=group.batches[:limit])
        names = sorted({base_name(cell.method) for batch in group.batches for cell in batch})
        text.append(f"\n# {len(group.batches)} jobs: {', '.join(names)}")
        text.append(submit.sbatch_text(order, first, f"bench-SWEEP-{number}", code))
    return "\n".join(text) + judged


@dataclass(frozen=True)
class Sent:
    """What was submitted: cells, jobs, the sweep's name and ids; `waiting` were queued before."""

    cells: int = 0
    jobs: int = 0
    sweep: str = ""
    ids: tuple[str, ...] = ()
    waiting: int = 0

    def __str__(self) -> str:
        text = [f"{self.waiting} cells are in the queue already"] * bool(self.waiting)
        if self.cells:
            ids = ", ".join(self.ids)
            text.append(f"{self.cells} cells in {self.jobs} jobs, sweep {self.sweep}: {ids}")
        return "\n".join(text)


def send(
    cells: Sequence[Cell],
    runs: Path,
    sources: dict[str, str],
    settings: Settings,
    request: Request,
) -> Sent:
    """Submit the cells that are not in the queue yet; what nodes need is prepared here first."""
    from benchmark.execution.train import prefetch

    with submit.alone(runs):
        jobs = queue.waiting()
        if lost := queue.orphans(runs, jobs):
            queue.call("scancel", *lost)
        waiting = queue.queued(runs, [job for job in jobs if job.job not in lost])
        fresh = [cell for cell in cells if cell.slug not in waiting]
        if not fresh:
            return Sent(waiting=len(cells))
        prefetch(fresh, runs, sources)
        wanted = order(fresh, runs, sources, settings, request)
        name, ids = submit.submit(wanted)
    return Sent(len(fresh), len(wanted.batches), name, tuple(ids), len(cells) - len(fresh))
