"""What cells need of a job: those that need alike stand in arrays of their own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.core.cell import Cell
from benchmark.sweep.estimate import Estimate
from slurm.resources import Resources
from slurm.sharing import TARGET_S, batches


@dataclass(frozen=True)
class Group:
    """Batches of cells, one per job, and what each of these jobs asks for."""

    resources: Resources
    batches: list[list[Cell]]


def groups(cells: Sequence[Cell], asked: Resources, per_job: str, known: Estimate) -> list[Group]:
    """Return `cells` in batches, grouped by memory and time; what the user asked for stays.

    Full fine-tuning does not make a linear probe wait for a large node, nor the other way round.
    """
    by_memory: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_memory[asked.mem_gb or memory_gb(cell, asked.tasks, known)].append(cell)
    found: dict[tuple[int, int], list[list[Cell]]] = defaultdict(list)
    for gb, members in by_memory.items():
        for batch in batches(members, per_job, known, target_s=TARGET_S * asked.tasks):
            minutes = asked.timeout_min or limit_min(batch, asked.tasks, known)
            found[gb, minutes].append(batch)
    return [
        Group(replace(asked, mem_gb=gb or None, timeout_min=minutes), members)
        for (gb, minutes), members in sorted(found.items())
    ]


def memory_gb(cell: Cell, tasks: int, known: Estimate) -> int:
    """Return half as much again as the cell took, as a power of two per task; 0 if unknown."""
    mib = known.mib([cell])
    return 0 if mib is None else tasks * _power(1.5 * mib / 1024)


def limit_min(batch: Sequence[Cell], tasks: int, known: Estimate) -> int:
    """Return 30, 60, 120, ... minutes: above twice the prediction and the start; 60 if unknown."""
    each = [known.seconds(cell) for cell in batch]
    if None in each:
        return 60
    seconds = [value for value in each if value is not None]
    longest = max(sum(seconds) / tasks, max(seconds))
    return 30 * _power((2 * longest / 60 + 10) / 30)


def _power(value: float) -> int:
    """Return the smallest power of two that is not below `value`, at least 1."""
    return int(2 ** max(0, math.ceil(math.log2(value)))) if value > 0 else 1
