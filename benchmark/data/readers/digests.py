"""Hashes of data files, remembered by size and time of change: a large set is read once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmark.core.files import cache_folder

_FRESH_S = 2.0  # a file this young may change again within the resolution of its time stamp


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the sha256 of each file; files that did not change since are not read again."""
    wanted = sorted(set(paths))
    if not wanted:
        return {}
    folder = Path(os.path.commonpath([path.resolve().parent for path in wanted]))
    place = cache_folder() / "digests" / f"{hashlib.sha256(str(folder).encode()).hexdigest()}.json"
    known = _read(place)
    found = {str(path.resolve()): _entry(path, known) for path in wanted}
    if any(known.get(name) != entry for name, entry in found.items()):
        _write(place, known | found)
    return {path: str(found[str(path.resolve())][2]) for path in wanted}


Entry = list[float | str]  # size, time of change in ns, sha256


def _entry(path: Path, known: dict[str, Entry]) -> Entry:
    state = path.stat()
    entry = known.get(str(path.resolve()))
    if entry and entry[:2] == [state.st_size, state.st_mtime_ns]:
        return entry
    with path.open("rb") as stream:
        value = hashlib.file_digest(stream, "sha256").hexdigest()
    return [state.st_size, state.st_mtime_ns, value]


def _read(place: Path) -> dict[str, Entry]:
    try:
        return dict(json.loads(place.read_text()))
    except (OSError, ValueError):
        return {}


def _write(place: Path, entries: dict[str, Entry]) -> None:
    """Write the digests if the cache can be written; without it they are only slower.

    Files changed in the last moments are left out: a second change might leave size and time.
    """
    limit = (time.time() - _FRESH_S) * 1e9
    kept = {name: entry for name, entry in entries.items() if float(entry[1]) < limit}
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(handle, "w") as stream:
            json.dump(kept, stream)
        Path(temporary).replace(place)
