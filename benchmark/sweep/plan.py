"""What the disk says of a list of cells: to do, done, failed or unsupported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.cell import Cell


@dataclass(frozen=True)
class Plan:
    """What the disk says of a list of cells."""

    todo: tuple[Cell, ...]
    done: tuple[Cell, ...]
    failed: tuple[Cell, ...]
    unsupported: tuple[Cell, ...]

    def counts(self) -> str:
        """Return "3 to do, 2 done, 0 failed, 1 unsupported"."""
        return (
            f"{len(self.todo)} to do, {len(self.done)} done, {len(self.failed)} failed, "
            f"{len(self.unsupported)} unsupported"
        )


def state(folder: Path) -> str:
    """Return "done", "unsupported", "failed" or "todo": which file stands in a cell's folder."""
    marks = {"record.json": "done", "unsupported.txt": "unsupported", "error.txt": "failed"}
    return next((name for mark, name in marks.items() if (folder / mark).exists()), "todo")


def plan(cells: Iterable[Cell], runs: Path) -> Plan:
    """Return the cells sorted by their state on disk; a cell that is listed twice counts once."""
    found: dict[str, list[Cell]] = {"todo": [], "done": [], "failed": [], "unsupported": []}
    for cell in dict.fromkeys(cells):
        found[state(cell.folder(runs))].append(cell)
    return Plan(**{name: tuple(members) for name, members in found.items()})
