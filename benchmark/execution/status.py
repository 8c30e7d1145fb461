"""What disk and queue say of all cells of a runs folder, and how it is printed.

Imports neither torch nor pandas: `status` answers at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.core.files import ERROR, RECORD, UNSUPPORTED, read_bytes
from benchmark.core.record import read_record
from benchmark.core.registry import InputError
from benchmark.sweep.claims import read
from benchmark.sweep.plan import planned, state

ORDER = ("done", "running", "queued", "todo", "failed", "unreadable", "unsupported")
RARE = ("running", "queued", "unreadable")  # not counted where there are none
LABELS = {"todo": "to do"}
REASONS = {"failed": ERROR, "unsupported": UNSUPPORTED}


@dataclass(repr=False)
class Status:
    """The state of each cell's folder, a note where there is one, and what else is wrong.

    Cells with the same note are one line; what `where` says of the first of them (its job, its log)
    follows it. `is_unknown`: there is a queue, but it did not answer.
    """

    runs: Path
    states: dict[Path, str]
    notes: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    where: dict[Path, str] = field(default_factory=dict)
    is_unknown: bool = False

    def __repr__(self) -> str:
        return "\n".join(lines(self))

    def counts(self) -> Counter[str]:
        """Return the number of cells in each state."""
        return Counter(self.states.values())

    def is_moving(self) -> bool:
        """Return whether anything runs or waits in a queue, or may do so as far as is known."""
        counts = self.counts()
        return any(counts[name] for name in ("running", "queued")) or (
            self.is_unknown and counts["todo"] > 0
        )

    def exit_code(self) -> int:
        """Return 0: all ended well, 1: something failed, 3: something is unfinished."""
        counts = self.counts()
        if counts["failed"] or counts["unreadable"]:
            return 1
        return 3 if any(counts[name] for name in ("running", "queued", "todo")) else 0


# Adds what a queue knows to a status: the rooms of this package know no cluster.
AskQueue = Callable[[Status], None]


def survey(runs: Path, ask_queue: AskQueue | None = None) -> Status:
    """Return the state of all cells: from the disk, and from the queue.

    Raises:
        InputError: there is no such folder.
    """
    folders, problems = planned(runs)
    status = Status(runs, {}, problems=problems)
    for folder in folders:
        try:
            status.states[folder] = state(folder)
            if status.states[folder] == "done":
                read_record(folder / RECORD)
        except InputError as error:  # whether it is done, nobody can say
            status.states[folder] = "unreadable"
            status.notes[folder] = str(error)
    for folder in [f for f, s in status.states.items() if s in ("todo", "failed")]:
        owner = read(folder)
        if owner and owner.is_alive():
            status.states[folder] = "running"
            status.notes[folder] = owner.describe()
    if ask_queue:
        ask_queue(status)
    return status


def lines(status: Status, tail: int = 0) -> list[str]:
    """Return what is printed: counts, rate, what runs, and the rest grouped by reason.

    `tail`: so many last lines of what each failed cell wrote.
    """
    counts, runs = status.counts(), status.runs
    shown = [name for name in ORDER if counts[name] or name not in RARE]
    text = [", ".join(f"{counts[name]} {LABELS.get(name, name)}" for name in shown)]
    if rate := _rate(status):
        text.append(rate)
    for folder in [f for f, s in status.states.items() if s == "running"]:
        text.append(f"running: {folder.relative_to(runs)}: {status.notes[folder]}")
    for name in ("queued", "todo", "failed", "unreadable", "unsupported"):
        groups: dict[str, list[Path]] = {}
        for folder in [f for f, s in status.states.items() if s == name]:
            if name == "todo" and folder not in status.notes:
                continue
            reason = status.notes.get(folder) or reason_of(folder, name)
            groups.setdefault(reason, []).append(folder)
        for reason, folders in sorted(groups.items(), key=lambda item: -len(item[1])):
            others = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
            label = LABELS.get(name, name)
            where = f" ({status.where[folders[0]]})" if folders[0] in status.where else ""
            text.append(f"{label}: {folders[0].relative_to(runs)}{others}: {reason}{where}")
    for folder in [f for f, s in status.states.items() if s == "failed" and tail]:
        written = _text(folder / REASONS["failed"]).rstrip().splitlines()[-tail:]
        text += [f"--- {folder.relative_to(runs)}", *written]
    return text + status.problems


def reason_of(folder: Path, name: str) -> str:
    """Return the first line of what a cell that is "failed" or "unsupported" wrote."""
    return _text(folder / REASONS[name]).split("\n", 1)[0]


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode(errors="replace")
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"


def _rate(status: Status) -> str:
    """Return the cells of the last hour and the time left at their rate, "" where none ended."""
    now = time.time()
    ends = [(f / RECORD).stat().st_mtime for f, s in status.states.items() if s == "done"]
    recent = [now - end for end in ends if now - end < 3600]
    left = sum(status.counts()[name] for name in ("running", "queued", "todo"))
    if not recent or not left or not status.is_moving() or max(recent) <= 0:
        return ""
    per_hour = len(recent) / max(recent) * 3600
    return f"{per_hour:.0f} cells per hour, {60 * left / per_hour:.0f} min left at this rate"
