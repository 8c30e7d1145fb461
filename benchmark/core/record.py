"""Records: one JSON per finished cell, written last and atomically, read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmark.core.cell import Cell
from benchmark.core.files import write_json
from benchmark.core.registry import InputError

SCHEMA = 1
RECORD = "record.json"
PEEK = "peek.json"  # scores of unselected checkpoints; no table reads it
RESCORED = "rescored.json"  # scores computed later from the predictions


@dataclass(frozen=True)
class Record:
    """What one cell measured; units stand in the names (`train_s`, `peak_mib`, `delta_bytes`)."""

    cell: Cell
    data: dict[str, Any]
    selected_step: int
    val: dict[str, float | None]
    test: dict[str, float | None]
    history: list[dict[str, float | None]]
    cost: dict[str, float]
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, with `schema` and `key` first."""
        return {"schema": SCHEMA, "key": self.cell.key, **asdict(self)}


def write_record(folder: Path, record: Record) -> Path:
    """Write the record of a finished cell into its folder and return the path."""
    write_json(folder / RECORD, record.to_json())
    return folder / RECORD


def touch(folder: Path) -> None:
    """Move the time of a cell's record by a microsecond: something was added beside it.

    Who keeps what records say (`results.index`) sees by this time that it must look again.
    """
    status = (folder / RECORD).stat()
    os.utime(folder / RECORD, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))


def read_record(path: Path) -> Record:
    """Return the record in `path`.

    Raises:
        InputError: a truncated file, another schema, or a key that does not fit the cell.
    """
    try:
        with path.open("rb", buffering=0) as stream:  # as `read_bytes`, in half the time
            values = orjson.loads(stream.read())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole JSON record ({error}); delete it to train the cell again"
        ) from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else None
        raise InputError(
            f"{path} has record schema {found!r}, this version reads {SCHEMA}; "
            "report it with the version that wrote it, or move it away"
        )
    return _checked(path, values)


def _checked(path: Path, values: dict[str, Any]) -> Record:
    try:
        key = values.pop("key")
        values.pop("schema")
        record = Record(**{**values, "cell": Cell.from_dict(values["cell"])})
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"{path} is not a record of this schema ({error}); move it away") from None
    if key != record.cell.key:
        raise InputError(
            f"{path} was edited: its key {key!r} is not its cell's {record.cell.key!r}"
        )
    return record


def read_rescored(path: Path) -> dict[str, dict[str, float | None]]:
    """Return the later scores {"val": ..., "test": ...} beside the record `path`; none: empty."""
    try:
        values = json.loads((path.parent / RESCORED).read_text())
        return {"val": dict(values["val"]), "test": dict(values["test"])}
    except FileNotFoundError:
        return {"val": {}, "test": {}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.parent / RESCORED} is not whole ({error}); run `report --rescore` again"
        ) from None


def add_rescored(record: Record, path: Path) -> None:
    """Add the later scores beside the record `path`; they replace none of its own."""
    later = read_rescored(path)
    for scores, found in ((record.val, later["val"]), (record.test, later["test"])):
        scores.update({name: v for name, v in found.items() if name not in scores})


def find_records(runs: Path) -> Iterator[Path]:
    """Yield the paths of all records below `runs`, sorted."""
    yield from sorted(runs.rglob(RECORD))


def read_records(runs: Path) -> tuple[list[Record], list[str]]:
    """Return (good records, one sentence per bad one): a bad file never hides the good ones."""
    records, faults = [], []
    for path in find_records(runs):
        try:
            record = read_record(path)
            add_rescored(record, path)
            records.append(record)
        except InputError as error:
            faults.append(str(error))
    return records, faults
