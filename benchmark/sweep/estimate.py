"""How long cells take and what memory they need, read off finished records and short probes.

Imports no torch: a dry run answers at once.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.core.cell import Cell
from benchmark.core.files import read_json
from benchmark.core.record import find_records

PROBES = "probes"
FIXED_S = 0.3  # of a cell in a warm process, training and validation aside
MOST_PACK = 3  # processes on one GPU: with more of them the host's cores are what is short
# Of a GPU's memory, for the training of all processes: images and features may take a quarter each
# of what is free.
PLANNED_SHARE = 0.5
CONTEXT_MIB = 1024  # of CUDA itself, per process
SLACK = 1.5  # of the peak of training: evaluation and weights of other cells take room too
Kind = tuple[str, str, str, int, int, str, bool]


def kind(cell: Cell) -> Kind:
    """Return what the cost of a step depends on.

    Cells of one kind differ in seeds, rates, fractions and the number of steps. Where a cell sees
    the same images again and again (no augmentation, or fixed views), the features of its frozen
    part are kept, and a step costs a fraction: that is another kind.
    """
    kept = cell.augment == "none" or cell.views > 0
    model = (cell.method, cell.backbone, cell.dataset)
    return (*model, cell.image_size, cell.batch_size, cell.precision, kept)


def _protocol(cell: Cell) -> tuple[Kind, int, int]:
    return kind(cell), cell.patience, cell.steps


def packed(card_mib: float, cell_mib: float) -> int:
    """Return how many processes share a GPU, each training cells of this peak: 1 to `MOST_PACK`.

    Small batches are bound by the launches of one process; others fill what it leaves idle.
    """
    fit = PLANNED_SHARE * card_mib / (SLACK * cell_mib + CONTEXT_MIB)
    return max(1, min(MOST_PACK, int(fit)))


@dataclass
class Estimate:
    """Seconds and MiB by kind of cell: lists of (seconds per step, MiB of the host or 0).

    `lengths` are the steps that cells took until they converged, by kind and protocol. `cards` are
    the (most MiB of a GPU for a cell, fewest MiB of a GPU), where processes may share one.
    """

    known: dict[Kind, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    lengths: dict[tuple[Kind, int, int], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    cards: dict[Kind, tuple[float, float]] = field(default_factory=dict)

    def pack(self, cells: Iterable[Cell]) -> tuple[int, str]:
        """Return how many processes share a GPU for `cells`, and why in words; 1 and "" if unknown.

        The largest cell on the smallest card that records tell of decides.
        """
        known = [self.cards.get(kind(cell)) for cell in cells]
        found = [pair for pair in known if pair is not None]
        if not found or len(found) < len(known):
            return 1, ""
        cell_mib, card_mib = max(c for c, _ in found), min(m for _, m in found)
        number = packed(card_mib, cell_mib)
        sizes = f"a cell takes {cell_mib / 1024:.1f} of its {card_mib / 1024:.0f} GiB"
        return number, f"{number} processes share a GPU: {sizes}" if number > 1 else ""

    def add(self, cell: Cell, seconds: float, mib: float, steps_done: int = 0) -> None:
        """Note what a finished cell took; 0 steps done: all that it was allowed."""
        steps = steps_done or cell.steps
        self.known[kind(cell)].append((seconds / steps, mib))
        if cell.patience:
            self.lengths[_protocol(cell)].append(steps)

    def steps(self, cell: Cell) -> int | None:
        """Return how many steps a cell will do; None where that shows only as it converges."""
        if not cell.patience:
            return cell.steps
        found = self.lengths.get(_protocol(cell))
        return round(statistics.median(found)) if found else None

    def seconds(self, cell: Cell) -> float | None:
        """Return the predicted seconds of a cell, or None where no cell of its kind ended.

        Of a cell that trains until it converges it is the time of the most steps, unless one of its
        kind has shown how many it takes.
        """
        measured = self.known.get(kind(cell))
        steps = self.steps(cell) or cell.steps
        # a median: one cell on a busy machine must not double the time limit of a sweep
        return statistics.median(s for s, _ in measured) * steps if measured else None

    def mib(self, cells: Iterable[Cell]) -> float | None:
        """Return the largest memory that a cell of these kinds took, or None if unknown."""
        return max(
            (m for cell in cells for _, m in self.known.get(kind(cell), ()) if m), default=None
        )

    def total_s(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """Return (predicted seconds of the known cells, number of the others)."""
        each = [self.seconds(cell) for cell in cells]
        return sum(s for s in each if s is not None), sum(s is None for s in each)


def read(runs: Path) -> Estimate:
    """Return the estimate from all records and probes below `runs`; unreadable ones are left out.

    The time of a record is that of training and validation; a tenth is added for the rest. The
    memory of a record is that of its device: on a GPU it says nothing of the host's.
    """
    estimate = Estimate()
    for path in [*find_records(runs), *sorted((runs / PROBES).glob("*.json"))]:
        try:
            values = read_json(path, "")
            cell, cost = Cell.from_dict(values["cell"]), values["cost"]
            hardware = values.get("provenance", {}).get("hardware", {})
            on_gpu = hardware.get("gpu")
            mib = cost.get("host_mib", 0.0 if on_gpu else cost["peak_mib"])
            seconds, steps = 1.1 * cost["train_s"], cost.get("steps_done", 0)
            if not (0 <= seconds < math.inf and 0 <= mib < math.inf and 0 <= steps < math.inf):
                continue
            estimate.add(cell, seconds, mib, steps)
            if on_gpu and hardware.get("compute_mode") == "Default":
                most, least = estimate.cards.get(kind(cell), (0.0, math.inf))
                card_mib = min(float(hardware["memory_mib"]), least)
                estimate.cards[kind(cell)] = max(cost["peak_mib"], most), card_mib
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
            continue  # `report` names records that cannot be read
    return estimate


def sentence(cells: Sequence[Cell], known: Estimate, jobs: int = 1) -> str:
    """Return "predicted: 12 min for 10 cells, 1.4 GiB; nothing is known of 2 kinds yet".

    `jobs` processes share the cells; the time is that of the known kinds only.
    """
    unknown = [cell for cell in cells if known.seconds(cell) is None]
    kinds = len({kind(cell) for cell in unknown})
    rest = f"nothing is known of {kinds} kind{'s' * (kinds > 1)} yet" if kinds else ""
    number = len(cells) - len(unknown)
    if not number:
        return f"predicted: {rest}; the first cell of each kind shows it"
    seconds = (known.total_s(cells)[0] + FIXED_S * number) / jobs
    bounds = any(known.seconds(cell) and known.steps(cell) is None for cell in cells)
    most = "at most " if bounds else ""  # one of a kind that has not converged yet
    text = f"predicted: {most}{length(seconds)} for {number} cell{'s' * (number > 1)}"
    mib = known.mib(cells)
    text += f", {jobs * mib / 1024:.1f} GiB" if mib else ""
    return f"{text}; {rest}" if rest else text


def length(seconds: float) -> str:
    """Return "45 s", "12 min" or "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass
class Forecast:
    """The time that is left of a run; what its own cells took counts more than old records."""

    left: list[Cell]
    old: Estimate = field(default_factory=Estimate)
    jobs: int = 1
    fresh: Estimate = field(default_factory=Estimate)

    def sentence(self) -> str:
        """Return what the cells that are left will take, as far as old records tell."""
        return sentence(self.left, self.old, self.jobs)

    def learn(self, cell: Cell, seconds: float, steps_done: int = 0) -> None:
        """Take a cell off the list that ended after so many seconds; 0 steps: all of them."""
        if cell in self.left:
            self.left.remove(cell)
        self.fresh.add(cell, seconds, 0.0, steps_done)

    def drop(self, cell: Cell) -> None:
        """Take a cell off the list whose time says nothing: it failed, or was not trained."""
        if cell in self.left:
            self.left.remove(cell)

    def left_s(self, current: Cell | None, step: int, elapsed_s: float) -> tuple[float, int]:
        """Return (seconds left of the kinds that are known, number of the other kinds).

        `current` is the cell that trains; its own steps count where its kind is not known yet.
        """
        total, unknown = 0.0, set()
        for cell in self.left:
            known = self.fresh.seconds(cell)
            known = self.old.seconds(cell) if known is None else known
            if known is None and current is not None and step and kind(cell) == kind(current):
                known = elapsed_s / step * (self.old.steps(cell) or cell.steps)
            if known is None:
                unknown.add(kind(cell))
            else:
                total += max(known - elapsed_s, 0.0) if cell == current else known
        return total / self.jobs, len(unknown)
