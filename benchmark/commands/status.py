"""Show what is done, running, failed (with the reason), unsupported and to do."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.commands._axes import add_runs
from benchmark.core.registry import InputError
from benchmark.sweep.claims import read
from benchmark.sweep.plan import state

ORDER = ("done", "running", "queued", "todo", "failed", "unsupported")
LABELS = {"todo": "to do"}
REASONS = {"failed": "error.txt", "unsupported": "unsupported.txt"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_runs(parser)
    parser.add_argument("--watch", type=float, nargs="?", const=10.0, metavar="SECONDS")
    parser.add_argument("--tail", type=int, default=0, metavar="N", help="lines of failed logs")


def run(arguments: argparse.Namespace) -> int:
    """Print counts, progress and reasons; 0: all ended well, 1: something failed, 3: unfinished."""
    while True:
        found = survey(arguments.runs)
        if arguments.watch is not None:
            clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
            print(f"{clear}{time.strftime('%H:%M:%S')}")
        print("\n".join(lines(found, arguments.runs, arguments.tail)), flush=True)
        if arguments.watch is None or not found.is_moving():
            return found.exit_code()
        time.sleep(arguments.watch)
        print()


@dataclass
class Survey:
    """What disk and queue say: the state of each cell's folder, and a note where there is one."""

    states: dict[Path, str]
    notes: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """Return the number of cells in each state."""
        return Counter(self.states.values())

    def is_moving(self) -> bool:
        """Return whether anything runs or waits in a queue."""
        return any(self.counts()[name] for name in ("running", "queued"))

    def exit_code(self) -> int:
        """Return 0, 1 or 3 as `run` says."""
        counts = self.counts()
        if counts["failed"]:
            return 1
        return 3 if any(counts[name] for name in ("running", "queued", "todo")) else 0


def survey(runs: Path) -> Survey:
    """Return the state of all cells: from the disk, and from one question to Slurm if need be."""
    found = Survey({folder: state(folder) for folder in planned(runs)})
    for folder in [f for f, s in found.states.items() if s in ("todo", "failed")]:
        owner = read(folder)
        if owner and owner.is_alive():
            found.states[folder] = "running"
            found.notes[folder] = owner.describe()
    if any(s == "todo" for s in found.states.values()) and (runs / "sweeps").is_dir():
        _ask_slurm(found, runs)
    return found


def _ask_slurm(found: Survey, runs: Path) -> None:
    from slurm import queue

    try:
        jobs = queue.queued(runs, queue.waiting())
    except InputError as error:
        found.problems.append(f"what Slurm is doing is not known: {error}")
        return
    for slug, job in jobs.items():
        if found.states.get(runs / slug) == "todo":
            found.states[runs / slug] = "queued"
            found.notes[runs / slug] = job.describe()
    left = {str(f.relative_to(runs)) for f, s in found.states.items() if s == "todo"}
    found.notes |= {runs / slug: last.reason for slug, last in queue.ended(runs, left).items()}
    if left:
        found.problems += queue.notes(runs)
    if not jobs:
        found.problems += queue.silent(runs)


def lines(found: Survey, runs: Path, tail: int = 0) -> list[str]:
    """Return what is printed of a survey: counts, rate, what runs, the rest grouped by reason."""
    counts = found.counts()
    shown = [name for name in ORDER if counts[name] or name not in ("running", "queued")]
    told = [", ".join(f"{counts[name]} {LABELS.get(name, name)}" for name in shown)]
    if rate := _rate(found):
        told.append(rate)
    for folder in [f for f, s in found.states.items() if s == "running"]:
        told.append(f"running: {folder.relative_to(runs)}: {found.notes[folder]}")
    for name in ("queued", "todo", "failed", "unsupported"):
        told += _by_reason(found, runs, name)
    for folder in [f for f, s in found.states.items() if s == "failed" and tail]:
        text = (folder / "error.txt").read_text().rstrip().splitlines()[-tail:]
        told += [f"--- {folder.relative_to(runs)}", *text]
    return told + found.problems


def _by_reason(found: Survey, runs: Path, name: str) -> list[str]:
    """Return a line per reason: how many cells, and the first of them."""
    groups: dict[str, list[Path]] = {}
    for folder in [f for f, s in found.states.items() if s == name]:
        if name == "todo" and folder not in found.notes:
            continue
        file = folder / REASONS.get(name, "")
        reason = found.notes.get(folder) or file.read_text().split("\n", 1)[0]
        groups.setdefault(reason, []).append(folder)
    told = []
    for reason, folders in sorted(groups.items(), key=lambda item: -len(item[1])):
        others = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        told.append(f"{LABELS.get(name, name)}: {folders[0].relative_to(runs)}{others}: {reason}")
    return told


def _rate(found: Survey) -> str:
    """Return the cells of the last hour and the time left at their rate, "" where none ended."""
    now = time.time()
    ends = [(f / "record.json").stat().st_mtime for f, s in found.states.items() if s == "done"]
    recent = [now - end for end in ends if now - end < 3600]
    left = sum(found.counts()[name] for name in ("running", "queued", "todo"))
    if not recent or not left or not found.is_moving():
        return ""
    per_hour = len(recent) / max(recent) * 3600 if max(recent) > 0 else 0.0
    if per_hour == 0:
        return ""
    return f"{per_hour:.0f} cells per hour, {60 * left / per_hour:.0f} min left at this rate"


def planned(runs: Path) -> list[Path]:
    """Return the folders of all cells that were ever planned or trained below `runs`."""
    if not runs.is_dir():
        raise InputError(f"no folder {str(runs)!r}; name the folder of a run with --runs")
    folders = {path.parent for path in runs.rglob("cell.json")}
    for path in runs.glob("plans/*.json"):
        folders |= {runs / slug for slug in json.loads(path.read_text())["slugs"]}
    return sorted(folders)
