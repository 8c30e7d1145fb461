"""How long cells take and what memory they need, read off finished records and short probes."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.record import find_records
from benchmark.spec import Cell

TARGET_S = 900.0  # of a job: long beside its start, short beside a time limit
UNKNOWN_S = 300.0  # of a cell that nothing is known of
PROBES = "probes"
Kind = tuple[str, str, str, int, int]


def kind(cell: Cell) -> Kind:
    """Return what the cost of a step depends on."""
    return (cell.method, cell.backbone, cell.dataset, cell.image_size, cell.batch_size)


@dataclass
class Estimate:
    """Seconds and MiB by kind of cell: lists of (seconds per step, MiB of the host or 0)."""

    known: dict[Kind, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def seconds(self, cell: Cell) -> float | None:
        """Return the predicted seconds of a cell, or None where no cell of its kind ended."""
        found = self.known.get(kind(cell))
        return statistics.median(s for s, _ in found) * cell.steps if found else None

    def mib(self, cells: Iterable[Cell]) -> float | None:
        """Return the largest memory that a cell of these kinds took, or None if unknown."""
        return max(
            (m for cell in cells for _, m in self.known.get(kind(cell), ()) if m), default=None
        )

    def total_s(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """Return (predicted seconds of the known cells, number of the others)."""
        found = [self.seconds(cell) for cell in cells]
        return sum(s for s in found if s is not None), sum(s is None for s in found)


def read(runs: Path) -> Estimate:
    """Return the estimate from all records and probes below `runs`; unreadable ones are left out.

    The time of a record is that of training and validation; a tenth is added for the rest. The
    memory of a record is that of its device: on a GPU it says nothing of the host's.
    """
    estimate = Estimate()
    for path in [*find_records(runs), *sorted((runs / PROBES).glob("*.json"))]:
        try:
            values = json.loads(path.read_text())
            cell, cost = Cell.from_dict(values["cell"]), values["cost"]
            on_gpu = values.get("provenance", {}).get("hardware", {}).get("gpu")
            mib = cost.get("host_mib", 0.0 if on_gpu else cost["peak_mib"])
            pair = (1.1 * cost["train_s"] / cell.steps, mib)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        estimate.known[kind(cell)].append(pair)
    return estimate


def batches(
    cells: Sequence[Cell], per_job: str, estimate: Estimate, *, target_s: float = TARGET_S
) -> list[list[Cell]]:
    """Return `cells` in batches that share a warm process; "auto" fills `target_s` seconds.

    Cells of one backbone, data set and size stand together.
    """
    ordered = sorted(cells, key=lambda c: (c.backbone, c.dataset, c.image_size))
    if per_job != "auto":
        size = int(per_job)
        return [list(ordered[i : i + size]) for i in range(0, len(ordered), size)]
    found: list[list[Cell]] = []
    filled = math.inf
    for cell in ordered:
        seconds = estimate.seconds(cell) or UNKNOWN_S
        if filled + seconds > target_s:
            found.append([])
            filled = 0.0
        found[-1].append(cell)
        filled += seconds
    return found
