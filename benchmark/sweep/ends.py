"""How earlier attempts at a cell ended without a result: a small file in the cell's folder.

A process that is killed writes nothing about itself. Whoever notices (the script of a Slurm job,
after its step has ended) adds a line here, so that a cell which kills its process is recognised,
goes last, and is given up in the end instead of taking the cells behind it along.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmark.core.files import ENDS, read_json, write_json

LIVES = 3  # deaths of a cell in one job, after which it is "failed"
KEPT = 20  # lines of the file
DEATHS = ("crash", "oom", "hang")


@dataclass(frozen=True)
class End:
    """One attempt that ended without a result.

    `kind` is "crash", "oom", "hang" (these three are deaths of the process) or "timeout" (stopped
    with a checkpoint by the time limit of the job). `memory_mb` and `limit_min` are what the job
    had, 0 if unknown; `step` is the last one that the others know of.
    """

    kind: str
    reason: str = ""
    job: str = ""
    host: str = ""
    restarts: int = 0
    step: int = 0
    memory_mb: int = 0
    limit_min: int = 0
    at: str = ""


_TYPES = {f.name: type(f.default) if f.name != "kind" else str for f in fields(End)}


def read_ends(folder: Path) -> list[End]:
    """Return the ends of a cell's attempts, oldest first; an unreadable file counts as none."""
    try:
        lines = read_json(folder / ENDS, "")["ends"]
        return [
            End(**line)
            for line in lines
            if all(type(value) is _TYPES.get(name) for name, value in line.items())
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def add_end(folder: Path, end: End) -> list[End]:
    """Add an end to a cell's file and return all of them."""
    ends = [*read_ends(folder), end][-KEPT:]
    write_json(folder / ENDS, {"ends": [asdict(one) for one in ends]})
    return ends


def deaths(ends: Sequence[End], job: str | None = None) -> int:
    """Return how many of the ends are deaths of a process, of one job where it is named."""
    return sum(end.kind in DEATHS and job in (None, end.job) for end in ends)


def now() -> str:
    """Return the local time as ISO text."""
    return time.strftime("%Y-%m-%dT%H:%M:%S")
