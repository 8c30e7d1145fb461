"""One record, or one unfinished cell, as a row of the frame."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.core.cell import Cell
from benchmark.core.files import CELL, ERROR, EXTERNAL, PEEK, PREDICTIONS, UNSUPPORTED, read_json
from benchmark.core.record import RECORD, RESCORED, Cost, Record, add_rescored, read_record
from benchmark.core.registry import InputError
from benchmark.scores import metric_of

BESIDE = (PREDICTIONS, PEEK, EXTERNAL)  # what a row tells of: `has_predictions`, ...
# what every finished cell tells; a runs folder of failures alone has these columns too, empty
FINISHED = (
    *("labels", "metric", "synthetic", "classes", "task", "ordinal", "device", "sources"),
    *("processes_per_gpu", "group_note"),
    *("earlier_trials", "earlier_s", "earlier_edge", "earlier_where"),
    *("selected_step", "last_step", "late_gain", "num_val"),
    *(field.name for field in fields(Cost)),
)
TRIED = 3  # rates, below which one of them is always an edge
LATE = 0.75  # the part of training after which its score on validation should hardly rise
_UNDONE = {UNSUPPORTED: "n/a", ERROR: "failed"}


def done(folder: str) -> dict[str, Any]:
    """Return the row of the record in `folder`; costs and scores under names of their own.

    Raises:
        InputError: for a record that cannot be used.
    """
    path = Path(f"{folder}/{RECORD}")
    names = _names(folder)
    record = read_record(path)
    if RESCORED in names:
        outdated = _outdated(frozenset(record.test), record.data.definitions)
        add_rescored(record, path, outdated)
    data = record.data
    try:
        lowest, highest = metric_of(data.metric).range
    except InputError as error:
        raise InputError(f"{path} was scored by an {error}") from None
    for part, scores in (("val", record.val), ("test", record.test)):
        value = scores.get(data.metric)
        if value is not None and not lowest <= value <= highest:
            raise InputError(f"{path} has the {part} {data.metric} {value:g}, which cannot be")
    gpu = record.provenance.get("hardware", {}).get("gpu")
    row = {
        **record.cell.values(),
        "key": record.cell.key,
        "state": "done",
        "labels": data.labels_used,
        "metric": data.metric,
        "synthetic": data.synthetic,
        "classes": data.classes,
        "task": data.task,
        "ordinal": data.ordinal,
        "device": str(gpu) if gpu else "cpu",
        "processes_per_gpu": record.provenance.get("processes_per_gpu", 1),
        "sources": _text(record.provenance.get("sources")),
        "group_note": data.group_note,
        "selected_step": record.selected_step,
        "num_val": data.val,
        **_earlier(record),
        **_end(record),
    }
    for start, numbers in (("val_", record.val), ("test_", record.test), ("", vars(record.cost))):
        row |= {start + n: None if v is None else float(v) for n, v in numbers.items()}
    return row | _beside(names)


def _earlier(record: Record) -> dict[str, Any]:
    """Return how many trials of another folder chose the rate, and how it lies among theirs."""
    found = record.provenance.get("earlier")
    if not found:
        return {"earlier_trials": 0, "earlier_s": 0.0, "earlier_edge": "", "earlier_where": ""}
    rates, ends = found["rates"], {}
    if len(rates) >= TRIED:
        ends = {rates[0]: f"the lowest of {len(rates)}", rates[-1]: f"the highest of {len(rates)}"}
    shares = ", ".join(f"{100 * share:g}%" for share in found["fractions"])
    lists = {name: ", ".join(map(str, found[name])) for name in ("seeds", "steps")}
    return {
        "earlier_trials": found["trials"],
        "earlier_s": found["train_s"],
        "earlier_edge": ends.get(record.cell.lr, ""),
        "earlier_where": f"{shares} of the labels, seed {lists['seeds']}, {lists['steps']} steps",
    }


def _end(record: Record) -> dict[str, float | None]:
    """Return the last step, 0 where only one was scored, and what validation gained late.

    The gain is in the metric that chooses, more is better: that of the last evaluation over that
    of the last one in the first `LATE` of the steps. NaN where either is not known.
    """
    history, gain = record.history, math.nan
    if len(history) < 2:
        return {"last_step": 0, "late_gain": gain}
    last = history[-1]["step"] or 0
    before = [point for point in history[:-1] if (point["step"] or 0) <= LATE * last] or history[:1]
    name = f"val_{record.data.metric}"
    ends = [point.get(name) for point in (before[-1], history[-1])]
    if ends[0] is not None and ends[1] is not None:
        gain = metric_of(record.data.metric).sign * (ends[1] - ends[0])
    return {"last_step": int(last), "late_gain": gain}


def undone(folder: str) -> dict[str, Any] | None:
    """Return the row of a cell that failed or that its method does not support; else None.

    Raises:
        InputError: for a cell that cannot be read.
    """
    names = _names(folder)
    state = next((state for mark, state in _UNDONE.items() if mark in names), None)
    if state is None:
        return None
    path = Path(folder) / CELL
    try:
        cell = Cell.from_dict(read_json(path, "delete it"))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not the cell of a {state} run ({error}); delete it") from None
    return {**cell.values(), "key": cell.key, "state": state, **_beside(names)}


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - a third of the time of `iterdir`
    except OSError as error:
        raise InputError(f"cannot read {folder!r} ({error.strerror})") from None


@functools.cache
def _outdated(names: frozenset[str], definitions: int) -> frozenset[str]:
    """Return the scores whose definition changed after a record of that version was written."""
    found = set()
    for name in names:
        with suppress(InputError):  # the score of a metric that is gone stays as it was stored
            found |= {name} if metric_of(name).since > definitions else set()
    return frozenset(found)


def _text(sources: object) -> str:
    return json.dumps(sources, sort_keys=True) if sources else ""


def _beside(names: Collection[str]) -> dict[str, bool]:
    return {f"has_{name.partition('.')[0]}": name in names for name in BESIDE}


def framed(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as a frame with one type per column; what a row lacks is missing there.

    Rows of the same names come together.
    """
    layouts: dict[tuple[str, ...], list[Any]] = {}
    for row in rows:
        layouts.setdefault(tuple(row), []).append(row.values())
    parts = []
    for names, lines in layouts.items():
        columns = zip(names, zip(*lines, strict=True), strict=True)
        parts.append(pd.DataFrame({name: _column(name, values) for name, values in columns}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _column(name: str, values: Sequence[Any]) -> Any:
    is_score = name.startswith(("val_", "test_"))
    return np.array(values, float) if is_score or isinstance(values[0], float) else list(values)
