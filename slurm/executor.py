"""From cells that are to do to submitted jobs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmark.core.cell import Cell
from benchmark.core.numbers import COUNT, Number
from benchmark.core.settings import Settings
from benchmark.core.spec import base_name
from benchmark.sweep import estimate
from benchmark.sweep.ends import read_ends
from slurm import packing, probe, queue, submit
from slurm.resources import Resources, parse
from slurm.submit import Order


@dataclass(frozen=True)
class Request:
    """What the user asks of the cluster; `resources` as in `--slurm NAME=VALUE,...`.

    `max_parallel` jobs of a submission run at once, over all its arrays. A cell that died of memory
    gets `retry_mem` times as much the next time, one that a time limit stopped `retry_time` times
    as long; 1: the same.
    """

    resources: str | Sequence[str] = ""
    max_parallel: int = 64
    cells_per_job: str | int = "auto"
    probe: bool = False
    retry_mem: str | float = 2.0
    retry_time: str | float = 2.0

    @classmethod
    def of(cls, asked: str | Mapping[str, object] | Request) -> Request:
        """Return a request from `--slurm` text, or a dict of resources and of fields of this."""
        if isinstance(asked, Request):
            return asked
        if isinstance(asked, str):
            return cls(asked)
        names = {item.name for item in fields(cls)}
        own: dict[str, Any] = {name: v for name, v in asked.items() if name in names}
        rest = []
        for name, value in asked.items():
            if name not in names:
                for one in value if isinstance(value, list | tuple) else [value]:
                    quote = "'" if '"' in str(one) else '"'
                    text = str(one).lower() if isinstance(one, bool) else str(one)
                    rest.append(f"{name}={quote}{text}{quote}")
        return cls(**{"resources": rest, **own})

    @property
    def asked(self) -> Resources:
        """Return what each job asks for."""
        return parse(self.resources)

    @property
    def retry(self) -> packing.Retry:
        """Return the factors of another attempt."""
        return packing.Retry(
            _factor("retry_mem", self.retry_mem), _factor("retry_time", self.retry_time)
        )

    def __post_init__(self) -> None:
        COUNT.check(self.max_parallel, "max_parallel")
        if self.cells_per_job != "auto":
            COUNT.read(self.cells_per_job, "cells_per_job, where it is not auto:")
        _ = self.retry


def _factor(name: str, value: str | float) -> float:
    """Return 2.0 of "2x", "2" or 2."""
    text = str(value)
    number = text if " " in text else text.removesuffix("x")
    return Number(float, least=1, most=100).read(number, f"{name} (a factor such as 2x)")


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
    history = {cell: read_ends(cell.folder(runs)) for cell in cells}
    per_job = str(request.cells_per_job)
    groups = packing.groups(cells, request.asked, per_job, known, history, request.retry)
    return submit.absolute(Order(groups, sources, runs, request.max_parallel, settings))


def describe(order: Order) -> str:
    """Return the plan of a submission: jobs, predicted time, and a script for sbatch per group."""
    cells = [cell for batch in order.batches for cell in batch]
    known = estimate.read(order.runs)
    seconds, unknown = known.total_s(cells)
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
    pack, why = known.pack(cells)
    if asked.gpus and pack == asked.pack and why:
        text.append(f"{why}; their times stay out of the efficiency table")
    arrays = submit.arrays(order, limit)
    shown: set[int] = set()
    for number, (array, parallel, before) in enumerate(arrays):
        if id(array.resources) in shown:
            continue  # the next array of the same group, which waits for this one
        shown.add(id(array.resources))
        group = next(g for g in order.groups if g.resources is array.resources)
        names = sorted({base_name(cell.method) for batch in group.batches for cell in batch})
        after = f", after array {before}" if before is not None else ""
        text.append(f"\n# {len(group.batches)} jobs, {parallel} at once{after}: {', '.join(names)}")
        text.append(submit.sbatch_text(array, f"bench-SWEEP-{number}", code, parallel))
    return "\n".join(text) + judged


@dataclass(frozen=True)
class Sent:
    """What was submitted: cells, jobs, the sweep's name and ids; `waiting` were queued before.

    `stuck` of those wait in jobs that waiting alone will not start.
    """

    cells: int = 0
    jobs: int = 0
    sweep: str = ""
    ids: tuple[str, ...] = ()
    waiting: int = 0
    stuck: int = 0

    def __str__(self) -> str:
        text = [f"{self.waiting} cells are in the queue already"] * bool(self.waiting)
        text += [f"{self.stuck} of them will not start by waiting: status says why"] * bool(
            self.stuck
        )
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
        stuck = sum(cell.slug in waiting and waiting[cell.slug].is_stuck for cell in cells)
        if not fresh:
            return Sent(waiting=len(cells), stuck=stuck)
        prefetch(fresh, runs, sources)
        wanted = order(fresh, runs, sources, settings, request)
        name, ids = submit.submit(wanted)
    return Sent(len(fresh), len(wanted.batches), name, tuple(ids), len(cells) - len(fresh), stuck)
