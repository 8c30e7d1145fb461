"""What a runs folder holds, by kind, and a clean-up that cannot lose a result.

Records, predictions and deltas are never deleted; nor is anything of a cell that somebody trains.
Imports neither torch nor pandas.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.core.files import (
    CELL,
    CHECKPOINT,
    CLAIM,
    DELTA,
    ENDS,
    ERROR,
    ERROR_BEFORE,
    EXTERNAL,
    PART,
    PEEK,
    PREDICTIONS,
    RECORD,
    RESCORED,
    UNSUPPORTED,
)
from benchmark.core.registry import InputError, unknown
from benchmark.sweep.claims import claimed, read

_RECORDS = (RECORD, CELL, ERROR, UNSUPPORTED, RESCORED, PEEK, ENDS, ERROR_BEFORE)
_BY_NAME = dict.fromkeys(_RECORDS, "records") | {
    PREDICTIONS: "predictions",
    DELTA: "deltas",
    CHECKPOINT: "checkpoints",
}
_BY_FOLDER = {
    "cache": "caches",
    "report": "reports",
    "plans": "plans",
    "sweeps": "logs",
    "probes": "logs",
}
_AT_TOP = {"index.parquet": "index", "latency.json": "reports"}
_DEPTH = 4  # DATASET/BACKBONE/METHOD/CELL
_CELL = re.compile(r"-[0-9a-f]{16}$")  # the end of a cell's folder: its key
_INSIDE = {EXTERNAL: "records", "peek": "checkpoints"}  # folders of a cell
KINDS = (
    "records",
    "predictions",
    "deltas",
    "checkpoints",
    "caches",
    "logs",
    "plans",
    "reports",
    "index",
    "other",
)
CLEANED = ("checkpoints", "caches", "reports", "index")
ENDED = (RECORD, UNSUPPORTED)


@dataclass
class Use:
    """The files of each kind with their sizes in bytes; sums are taken of them."""

    files: dict[str, list[tuple[Path, int]]] = field(
        default_factory=lambda: {kind: [] for kind in KINDS}
    )

    def bytes(self, kind: str) -> int:
        """Return the bytes of a kind."""
        return sum(size for _, size in self.files[kind])


def survey(runs: Path) -> Use:
    """Return what lies below `runs`; links are counted as themselves and not followed.

    Raises:
        InputError: for a folder that is no runs folder: nothing is to be cleaned by mistake.
    """
    if not any(next(runs.glob(f"*/*/*/*/{name}"), None) for name in (CELL, RECORD)):
        raise InputError(
            f"{str(runs)!r} holds no cell (DATASET/BACKBONE/METHOD/...); name a folder of runs "
            "with --runs"
        )
    use = Use()
    for folder, _, names in os.walk(runs):
        for path in (Path(folder) / name for name in names):
            use.files[kind_of(path.relative_to(runs))].append((path, path.lstat().st_size))
    return use


def kind_of(path: Path) -> str:
    """Return the kind of a file by its path below the runs folder.

    What lies in a cell's folder is of the cell, even where its data set is called "report".
    """
    if len(path.parts) == 1:
        return _AT_TOP.get(path.name, "other")
    if len(path.parts) > _DEPTH and _CELL.search(path.parts[_DEPTH - 1]):
        if path.name.startswith(".") and path.name.endswith(PART):
            return "checkpoints"  # what a killed process left half-written
        return _INSIDE.get(path.parent.name) or _BY_NAME.get(path.name, "other")
    top = path.parts[0]
    return "reports" if top.startswith("report-") else _BY_FOLDER.get(top, "other")


def clean(use: Use, runs: Path, kinds: Collection[str], *, dry: bool) -> tuple[Use, list[str]]:
    """Delete what is safe of `kinds` (with `dry`, nothing) and return (what went, what stayed why).

    Raises:
        InputError: for a kind that is never deleted, or is none.
    """
    for kind in kinds:
        if kind not in CLEANED and kind in KINDS:
            raise InputError(
                f"{kind} are never deleted by this command; it cleans {', '.join(CLEANED)}"
            )
        if kind not in CLEANED:
            raise unknown("kind to clean", kind, CLEANED)
    gone, kept = Use(), []
    training = sum(_is_trained(path.parent) for path in runs.rglob(CLAIM))
    for kind in dict.fromkeys(kinds):
        if kind == "caches" and training:
            kept.append(f"caches stay: {training} cells are being trained and may read them")
        elif kind == "checkpoints":
            kept += _checkpoints(use, gone, dry=dry)
        else:
            gone.files[kind] = [(path, size) for path, size in use.files[kind]]
            _delete([path for path, _ in gone.files[kind]], dry=dry)
    return gone, kept


def _is_trained(folder: Path) -> bool:
    claim = read(folder)
    return claim is not None and claim.is_alive()


def _checkpoints(use: Use, gone: Use, *, dry: bool) -> list[str]:
    """Delete the checkpoints of ended cells, each under a claim; return why others stay."""
    unfinished = trained = locked = 0
    cells: dict[Path, list[tuple[Path, int]]] = {}
    for path, size in use.files["checkpoints"]:
        inside = path.parent.name in _INSIDE
        cells.setdefault(path.parent.parent if inside else path.parent, []).append((path, size))
    for folder, files in cells.items():
        if not any((folder / name).exists() for name in ENDED):
            unfinished += 1
        elif _is_trained(folder):
            trained += 1
        else:
            try:
                if _under_claim(folder, files, dry=dry):
                    gone.files["checkpoints"] += files
                else:
                    trained += 1
            except InputError:  # a colleague's: the other folders are cleaned
                locked += 1
    reasons = (
        (unfinished, "are not finished: they would start anew"),
        (trained, "are being trained"),
        (locked, "lie in folders that cannot be written"),
    )
    return [f"checkpoints of {n} cells stay: they {why}" for n, why in reasons if n]


def _under_claim(folder: Path, files: list[tuple[Path, int]], *, dry: bool) -> bool:
    """Delete files of a cell that nobody else has claimed; return whether that was so."""
    if dry:
        return True
    with claimed(folder) as claim:
        if claim is not None:
            _delete([path for path, _ in files], dry=False)
    return claim is not None


def _delete(paths: Collection[Path], *, dry: bool) -> None:
    for path in () if dry else paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot delete {str(path)!r} ({error.strerror})") from None
