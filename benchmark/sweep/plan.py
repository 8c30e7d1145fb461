"""Which cells were asked for, and what the disk says of them.

A plan file names the cells of one command, so that `status` knows what is still to do; its writer
and its reader are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.core.cell import Cell
from benchmark.core.files import CELL, ERROR, RECORD, UNSUPPORTED, digest, read_json, write_json
from benchmark.core.notes import note
from benchmark.core.registry import InputError
from benchmark.core.typed import typed
from benchmark.sweep.estimate import Forecast

AGAIN = "`run` writes it again"
PLANS = "plans"  # folder of plan files below a runs folder


@dataclass(frozen=True, repr=False)
class Plan:
    """Cells by what the disk says of them, and what those that are left should take."""

    todo: tuple[Cell, ...]
    done: tuple[Cell, ...]
    failed: tuple[Cell, ...]
    unsupported: tuple[Cell, ...]
    forecast: Forecast = field(default_factory=lambda: Forecast([]), compare=False)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return lines for people: counts, the length of training, predicted time, notes."""
        cells = [*self.todo, *self.done, *self.failed, *self.unsupported]
        lines = [f"{len(cells)} cells: {self.counts()}"]
        lengths = sorted({(c.patience, c.steps) for c in cells if c.patience})
        lines += [
            f"until converged: {patience} evaluations without a gain, at most {steps:,} steps"
            for patience, steps in lengths
        ]
        lines += [self.forecast.sentence()] if self.forecast.left else []
        lines += [note(text) for text in self.notes]
        return "\n".join(lines)

    @property
    def left(self) -> list[Cell]:
        """Return the cells that `run` would train: those to do, and failed ones once more."""
        return [*self.todo, *self.failed]

    def counts(self) -> str:
        """Return "3 to do, 2 done, 0 failed, 1 unsupported"."""
        return (
            f"{len(self.todo)} to do, {len(self.done)} done, {len(self.failed)} failed, "
            f"{len(self.unsupported)} unsupported"
        )


def state(folder: Path) -> str:
    """Return "done", "unsupported", "failed" or "todo", by the file that a cell's folder has.

    Raises:
        InputError: for a folder that cannot be read: whether the cell is done is not known.
    """
    marks = {RECORD: "done", UNSUPPORTED: "unsupported", ERROR: "failed"}
    try:
        return next((name for mark, name in marks.items() if (folder / mark).exists()), "todo")
    except OSError as error:
        raise InputError(f"cannot read {str(folder)!r} ({error.strerror})") from None


def plan(cells: Iterable[Cell], runs: Path) -> Plan:
    """Return the cells sorted by their state on disk; a cell that is listed twice counts once."""
    by_state: dict[str, list[Cell]] = {"todo": [], "done": [], "failed": [], "unsupported": []}
    for cell in dict.fromkeys(cells):
        try:
            known = state(cell.folder(runs))
        except InputError:  # a locked folder stops no other cell; training it says what is wrong
            known = "todo"
        by_state[known].append(cell)
    todo, done, failed, unsupported = map(tuple, by_state.values())
    return Plan(todo, done, failed, unsupported)


@dataclass(frozen=True)
class PlanFile:
    """What a plan file says: the folders of its cells, relative to the runs folder."""

    slugs: list[str]


def write_plan(cells: Sequence[Cell], runs: Path) -> None:
    """Write which cells were asked for; the same cells give the same file."""
    slugs = [cell.slug for cell in cells]
    name = digest("\n".join(slugs), 12)
    write_json(runs / PLANS / f"{name}.json", {"slugs": slugs})


def planned(runs: Path) -> tuple[list[Path], list[str]]:
    """Return (folders of all cells ever planned or trained below `runs`, a sentence per bad plan).

    Raises:
        InputError: there is no such folder.
    """
    if not runs.is_dir():
        raise InputError(f"no folder {str(runs)!r}; name the folder of a run with --runs")
    folders = {path.parent for path in runs.rglob(CELL)}
    problems = []
    for path in sorted(runs.glob(f"{PLANS}/*.json")):
        try:
            slugs = typed(PlanFile, read_json(path, AGAIN), "the plan").slugs
            if not all(map(_is_slug, slugs)):
                raise InputError("its slugs are not a list of relative paths")
        except InputError as error:
            problems.append(f"{path} is not a plan ({error}); {AGAIN}")
            continue
        folders |= {runs / slug for slug in slugs}
    return sorted(folders), problems


def _is_slug(slug: str) -> bool:
    """Return whether this is the relative path of a cell's folder, which leads nowhere else."""
    parts = slug.split("/")
    return all(part.strip() and part != ".." and len(part.encode()) < 256 for part in parts)
