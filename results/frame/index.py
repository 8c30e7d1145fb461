"""The compacted index of a runs folder: what its records say, in one Parquet file.

The records stay the truth. A row of the index counts only for the record of the same path, size
and modification time (ns); everything else is read from the JSON again. Records younger than
`SETTLED_S` are never put in, because a second write within the clock's tick would look alike.
What is added beside a record later (`report --rescore`, `--peek`, `--test-on`) moves the record's
time by `record.touch`. An index that is damaged, or of another version, is left aside and written
anew; deleting it is always safe.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pandas as pd

from benchmark.core.cell import Cell
from benchmark.core.files import digest, written
from benchmark.core.record import SCHEMA
from benchmark.core.registry import InputError
from results.frame import rows
from results.frame.scan import Found, scan

INDEX = "index.parquet"
# the fields of a cell are columns: rows of before a new one would lack it
_CELL = digest(",".join(field.name for field in fields(Cell)))
VERSION = f"peft-medical-benchmark index 6, record {SCHEMA}, cell {_CELL}"
FEWEST = 1000  # records, below which reading them is as quick
PART = 5000  # records at a time
SHARE = 0.02  # of the records that may be outside before the index is written again
SETTLED_S = 2.0
_OWN = ["folder", "size", "mtime_ns"]


def load(runs: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return (rows of all cells below `runs`, faults of records, notes on the index).

    The rows are in the order of their folders, which stand in `path`.
    """
    cells = scan(runs)
    finished = [found for found in cells if found.size >= 0]
    known, notes = _read(runs)
    fresh, places, faults = _split(runs, known, finished)
    done = _joined([known if len(places) == len(known) else known.iloc[places], fresh])
    if len(finished) >= FEWEST and len(fresh) > SHARE * len(finished):
        _write(runs, done)
    others, bad = _undone([found.folder for found in cells if found.size < 0])
    return _ordered(runs, done, others), faults + bad, notes


def _split(
    runs: Path, known: pd.DataFrame, finished: Sequence[Found]
) -> tuple[pd.DataFrame, list[int], list[str]]:
    """Return (rows read anew, places in `known` of the valid rows, faults)."""
    start = len(str(runs)) + 1
    folders, sizes, times = (known[name].tolist() for name in _OWN)
    index = {name: place for place, name in enumerate(folders)}
    places, changed = [], []
    for found in finished:
        place = index.get(found.folder[start:])
        if place is not None and (sizes[place], times[place]) == found[1:]:
            places.append(place)
        else:
            changed.append(found)
    fresh, faults = _parsed(changed, start)
    return fresh, places, faults


def _parsed(changed: Sequence[Found], start: int) -> tuple[pd.DataFrame, list[str]]:
    """Return (the rows of records, faults), read in parts: a row as a dictionary is large."""
    parts, faults = [], []
    gc.disable()  # it would look at all dictionaries again and again: a fifth of the time
    try:
        for i in range(0, len(changed), PART):
            found = []
            for folder, size, mtime in changed[i : i + PART]:
                own = dict(zip(_OWN, (folder[start:], size, mtime), strict=True))
                try:
                    found.append(rows.done(folder) | own)
                except InputError as error:
                    faults.append(str(error))
            parts.append(rows.framed(found))
    finally:
        gc.enable()
    return _joined(parts), faults


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    kept = [part for part in parts if len(part)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=_OWN)


def _undone(folders: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    found, faults = [], []
    for folder in folders:
        try:
            if row := rows.undone(folder):
                found.append(row | {"folder": folder})
        except InputError as error:
            faults.append(str(error))
    return rows.framed(found), faults


def _ordered(runs: Path, done: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return all rows by folder; `folder` is the whole path then."""
    if len(done):
        done = done.drop(columns=_OWN[1:]).assign(folder=f"{runs}/" + done["folder"])
    every = _joined([done, others])
    if every["folder"].is_monotonic_increasing:
        return every
    return every.sort_values("folder", ignore_index=True)


def _read(runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return (the rows of the index, empty without one, and a note where it cannot be used)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, nothing = runs / INDEX, pd.DataFrame(columns=_OWN)
    if not path.exists():
        return nothing, []
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        if (table.schema.metadata or {}).get(b"version") != VERSION.encode():
            return nothing, [f"{path} is of another version: all records were read again"]
        found = table.to_pandas()
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        return nothing, [f"{path} is damaged ({reason}): all records were read again"]
    texts = {text: tuple(json.loads(text)) for text in found["classes"].unique()}
    return found.assign(classes=found["classes"].map(texts)), []


def _write(runs: Path, done: pd.DataFrame) -> None:
    """Write the index of settled rows, whole or not at all; nothing where that is not allowed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    settled = done["mtime_ns"] < (time.time() - SETTLED_S) * 1e9
    texts = {value: json.dumps(value) for value in set(done["classes"])}
    kept = done.assign(classes=done["classes"].map(texts))[settled]
    table = pa.Table.from_pandas(kept, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"version": VERSION.encode()}
    with suppress(InputError), written(runs / INDEX) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, write_page_checksum=True)
