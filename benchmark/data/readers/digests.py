"""What was learned of data files, remembered while they do not change: a large set is read once.

A fact (a hash, a header) is remembered beside size and times of its file. The time of change counts
as well as that of the content: a file that was edited and given its old time back is read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmark.core.files import cache_folder, digest, read_bytes, sha256_of, write_text
from benchmark.core.registry import InputError
from benchmark.core.typed import typed

FRESH_S = 2.0  # a file this young may change again within the resolution of its time stamp
_THREADS = 8  # hide the latency of a network file system; hashing releases the interpreter's lock


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the sha256 of each file; files that did not change since are not read again."""
    return remembered(paths, "sha256", sha256)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; one that cannot be read raises InputError."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r} ({error.strerror})") from None


def remembered(paths: Iterable[Path], kind: str, learn: Callable[[Path], Any]) -> dict[Path, Any]:
    """Return `learn(path)`, a JSON value, of each file; known ones are not read again.

    `kind` names what is learned and its version. What cannot be written down is only slower.
    """
    wanted = list(dict.fromkeys(paths))  # a mask may serve two images
    if not wanted:
        return {}
    # once per folder, not per file: pathlib takes longer over a name than the disk over its stat
    folders = {parent: parent.absolute() for parent in {path.parent for path in wanted}}
    root = os.path.commonpath(list(folders.values()))
    below = {parent: os.path.relpath(place, root) for parent, place in folders.items()}
    name = digest(f"{os.path.realpath(root)} {kind}", 32)
    place = cache_folder() / "facts" / f"{name}.json"
    known = _read(place)
    keys = {path: os.path.normpath(f"{below[path.parent]}/{path.name}") for path in wanted}
    states = {path: _state(path) for path in wanted}
    new = [p for p in wanted if (k := known.get(keys[p])) is None or k[:3] != states[p]]
    if len(new) > _THREADS:
        with ThreadPoolExecutor(_THREADS) as pool:
            learned = dict(zip(new, pool.map(learn, new), strict=True))
    else:
        learned = {path: learn(path) for path in new}
    if learned:
        # the state from before reading: a file that changed meanwhile is read again next time
        _write(place, known | {keys[p]: [*states[p], value] for p, value in learned.items()})
    return {p: learned[p] if p in learned else known[keys[p]][3] for p in wanted}


def _state(path: Path) -> list[int]:
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"there is no readable file {str(path)!r} ({reason})") from None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _read(place: Path) -> dict[str, list[Any]]:
    """Return the known facts; none where the file is absent or is not what was written."""
    try:
        # the file is shared by processes and machines, so it is checked before it is believed
        total, _, text = read_bytes(place).decode().partition("\n")
        if digest(text, 64) != total:
            return {}
        return typed(dict[str, list[Any]], json.loads(text), "")
    except (OSError, ValueError):
        return {}


def _write(place: Path, facts: dict[str, list[Any]]) -> None:
    """Write the facts if the cache can be written, with their checksum in the first line.

    Files changed in the last moments are left out: a second change might leave size and time.
    """
    limit = (time.time() - FRESH_S) * 1e9
    text = json.dumps({name: fact for name, fact in facts.items() if max(fact[1:3]) < limit})
    with contextlib.suppress(OSError, InputError):
        write_text(place, f"{digest(text, 64)}\n{text}")
