"""Which cells share a job, and what the job asks for: by what earlier cells of their kind took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.core.cell import Cell
from benchmark.sweep.ends import End, deaths
from benchmark.sweep.estimate import Estimate
from slurm.resources import GPU_MEMORY_GB, Resources

TARGET_S = 900.0  # of a task: long beside its start, short beside a time limit
UNKNOWN_S = 300.0  # of a cell of which nothing is known


@dataclass(frozen=True)
class Group:
    """Batches of cells, one per job, and what each of these jobs asks for."""

    resources: Resources
    batches: list[list[Cell]]


@dataclass(frozen=True)
class Retry:
    """How much more a cell gets that died of memory or was stopped by a time limit, 1: the same."""

    memory: float = 2.0
    time: float = 2.0


def groups(
    cells: Sequence[Cell],
    asked: Resources,
    per_job: str,
    known: Estimate,
    history: Mapping[Cell, Sequence[End]] | None = None,
    retry: Retry | None = None,
) -> list[Group]:
    """Return `cells` in batches, grouped by memory and time; what the user asked for stays.

    Full fine-tuning does not make a linear probe wait for a large node, nor the other way round.
    Cells whose process died before come last, each in a job of its own: it may die again.
    `history` says how earlier attempts at a cell ended. With `pack=auto` as many tasks share a
    GPU as its memory holds, if records tell.
    """
    if not asked.pack:
        asked = replace(asked, pack=known.pack(cells)[0] if asked.gpus else 1)
    history, retry = history or {}, retry or Retry()
    by_memory: dict[tuple[bool, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        ends = history.get(cell, ())
        gb = asked.mem_gb or (memory_gb(cell, asked, known) if asked.sizes_memory else 0)
        before = [end.memory_mb for end in ends if end.kind == "oom"]
        if before and retry.memory > 1:  # more than it had, also where the user names a size
            gb = max(gb, math.ceil(retry.memory * max(before) / 1024))
        by_memory[deaths(ends) > 0, gb].append(cell)
    by_size: dict[tuple[bool, int, int], list[list[Cell]]] = defaultdict(list)
    for (died, gb), members in by_memory.items():
        target_s = TARGET_S * asked.tasks
        for batch in batches(members, "1" if died else per_job, known, target_s=target_s):
            minutes = asked.timeout_min or limit_min(batch, asked, known)
            before = [
                end.limit_min
                for cell in batch
                for end in history.get(cell, ())
                if end.kind == "timeout"
            ]
            if before and retry.time > 1:
                minutes = max(minutes, math.ceil(retry.time * max(before)))
            by_size[died, gb, minutes].append(batch)
    return [
        Group(replace(asked, mem_gb=gb or None, timeout_min=minutes), members)
        for (_, gb, minutes), members in sorted(by_size.items())
    ]


def batches(
    cells: Sequence[Cell], per_job: str, estimate: Estimate, *, target_s: float = TARGET_S
) -> list[list[Cell]]:
    """Return `cells` in batches that share a warm process; "auto" fills `target_s` seconds.

    Cells of one backbone, data set and size are neighbours: they share weights and images.
    """
    ordered = sorted(cells, key=lambda c: (c.backbone, c.dataset, c.image_size))
    if per_job != "auto":
        size = int(per_job)
        return [list(ordered[i : i + size]) for i in range(0, len(ordered), size)]
    filled_batches: list[list[Cell]] = []
    filled = math.inf
    for cell in ordered:
        # an unknown cell counts as five minutes: three of them share a job, which then shows
        seconds = estimate.seconds(cell) or UNKNOWN_S
        if filled + seconds > target_s:
            filled_batches.append([])
            filled = 0.0
        filled_batches[-1].append(cell)
        filled += seconds
    return filled_batches


def memory_gb(cell: Cell, asked: Resources, known: Estimate) -> int:
    """Return half as much again as the cell took, as a power of two per task.

    Where nothing is known it is 0, Slurm's own default, but for GPUs: the default of most sites,
    so much per core, does not hold CUDA and the decoded images.
    """
    mib = known.mib([cell])
    if mib is None:
        return asked.tasks * GPU_MEMORY_GB if asked.gpus else 0
    return asked.tasks * _power(1.5 * mib / 1024)


def limit_min(batch: Sequence[Cell], asked: Resources, known: Estimate) -> int:
    """Return 30, 60, 120, ... minutes: above twice the prediction and the start; 60 if unknown.

    Tasks that share a GPU may be as slow as one after the other would be.
    """
    each = [known.seconds(cell) for cell in batch]
    if None in each:
        return 60  # what is not done by then is requeued, and continues
    seconds = [value for value in each if value is not None]
    share = max(1, asked.pack) if asked.gpus else 1
    longest = share * max(sum(seconds) / asked.tasks, max(seconds))
    return 30 * _power((2 * longest / 60 + 10) / 30)


def _power(value: float) -> int:
    """Return the smallest power of two that is not below `value`, at least 1."""
    return int(2 ** max(0, math.ceil(math.log2(value)))) if value > 0 else 1
