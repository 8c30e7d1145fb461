"""Scores of trained cells on external sets (`run --test-on`), beside their own test scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.files import EXTERNAL, read_json
from benchmark.core.registry import InputError
from benchmark.core.typed import typed
from benchmark.scores import metric_of
from results.tables import Table
from results.tables.naming import brief
from results.tables.sheet import ONCE, Score, Sheet

NOTE = (
    "External test sets: nothing was trained or chosen on them. Mean ± standard deviation over the "
    "seeds and splits of the cells in the table of scores that were tested there."
)


@dataclass(frozen=True)
class ExternalFile:
    """What `run --test-on` writes beside a record."""

    key: str
    dataset: str
    images: int
    metric: str
    test: dict[str, float | None]
    data: str = ""
    cell: dict[str, Any] = field(default_factory=dict)


def build(tables: Sequence[Table], problems: list[str]) -> list[Sheet]:
    """Return a sheet per table with chosen cells that were tested outside.

    Only seeds and splits are averaged: each row is one setting of one method in one column. What is
    wrong with a file is added to `problems`.
    """
    return [sheet for table in tables if (sheet := _sheet(table, problems))]


def _sheet(table: Table, problems: list[str]) -> Sheet | None:
    rows: list[dict[str, Any]] = []
    for column, chosen in table.chosen.items():
        tested = chosen[chosen["has_external"].astype(bool)]
        for method, cells in tested.groupby("method", sort=False):
            by_set: dict[tuple[Any, ...], list[tuple[float, float | None]]] = {}
            for key, folder, row in zip(
                cells["key"], cells["folder"], cells.to_dict("records"), strict=True
            ):
                for found in read_beside(
                    Path(folder) / EXTERNAL, "*.json", key, ExternalFile, problems
                ):
                    metric = found["metric"]
                    if f"test_{metric}" not in row or metric not in found["test"]:
                        problems.append(f"{folder}/{EXTERNAL}: no {metric} of {found['dataset']}")
                        continue
                    where = (found["dataset"], found["images"], metric)
                    by_set.setdefault(where, []).append(
                        (row[f"test_{metric}"], found["test"][metric])
                    )
            for (dataset, images, metric), pairs in by_set.items():
                rows.append(
                    {
                        "method": brief(str(method), table.methods),
                        "trained on": f"{column.name} {column.amount}",
                        "tested on": dataset,
                        "images": images,
                        "metric": metric_of(metric).display,
                        "own test": averaged([own for own, _ in pairs], metric),
                        "external": averaged([outside for _, outside in pairs], metric),
                    }
                )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    once = {
        (i, data.columns.get_loc(name)): ONCE
        for i, row in enumerate(rows)
        for name in ("own test", "external")
        if row[name].num_seeds == 1
    }
    note = f"{NOTE} {table.groups}".strip()
    return Sheet(f"External test sets of {table.title}", data, note=note, marks=once, keys=3)


def averaged(values: Sequence[float | None], metric: str) -> Score:
    """Return the mean of what is known; a metric that is nowhere defined is "n/a"."""
    shown = metric_of(metric)
    known = shown.scale * pd.Series(values, dtype=float).dropna()
    if known.empty:
        return Score(reason="n/a")
    # one value has no spread: 0.0 would read as "exact"
    spread = float(known.std(ddof=1)) if len(known) > 1 else None
    return Score(float(known.mean()), spread, len(known), decimals=shown.decimals)


def read_beside(
    folder: Path, pattern: str, key: str, form: Callable[..., object], problems: list[str]
) -> list[dict[str, Any]]:
    """Return the JSON files of one cell in a folder that have the fields of `form`.

    The others are left out, with a sentence in `problems`: no record depends on them.
    """
    found = []
    for path in sorted(folder.glob(pattern)):
        try:
            values = read_json(path, "delete it")
            typed(form, values, str(path))
            metric_of(values["metric"])
            # a folder may hold what another cell left there under the same name
            if values["key"] == key:
                found.append(values)
        except InputError as error:
            problems.append(f"not used: {error}")
    return found
