"""Where the cells of a runs folder are, and which version of each record stands there.

One `stat` per finished cell and one listing per folder above; no file is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmark.core.files import CELL, RECORD

_DIGITS = 16  # of the key at the end of a cell's folder


class Found(NamedTuple):
    """A cell's folder, with size and time (ns) of its record; size -1 where there is none."""

    folder: str
    size: int = -1
    mtime_ns: int = 0


def scan(runs: Path) -> list[Found]:
    """Return all cells below `runs` that are finished or were started, sorted by folder."""
    return sorted(_below(str(runs)))


def _below(folder: str) -> Iterator[Found]:
    names = set()
    try:
        entries = list(os.scandir(folder))
    except OSError:
        yield Found(folder)  # who makes a row of it finds out why, and says so
    else:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                names.add(entry.name)
            elif entry.name[-_DIGITS - 1 : -_DIGITS] == "-" and (found := _record(entry.path)):
                yield found  # a finished cell's folder: it needs no listing
            else:
                yield from _below(entry.path)
    if RECORD in names:
        found = _record(folder)
        if found:
            yield found
    elif CELL in names:
        yield Found(folder)


def _record(folder: str) -> Found | None:
    try:
        status = os.stat(f"{folder}/{RECORD}")  # noqa: PTH116 - 100,000 `Path`s would cost more
    except OSError:
        return None
    return Found(folder, status.st_size, status.st_mtime_ns)
