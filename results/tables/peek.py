"""The peek gap: best-on-test minus selected, from files that no guarded table reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.files import PEEK
from benchmark.scores import metric_of
from results.tables import Table
from results.tables.external import averaged, read_beside
from results.tables.naming import brief
from results.tables.sheet import ONCE, Sheet

NOTE = (
    "Peek gap: what choosing the checkpoint on the test set would have gained, in no other table. "
    "Mean ± standard deviation over the seeds and splits of the peeked cells in the table of "
    "scores."
)


@dataclass(frozen=True)
class Point:
    """The test scores of one step."""

    step: int
    test: dict[str, float | None]


@dataclass(frozen=True)
class PeekFile:
    """What `run --peek` writes beside a record."""

    key: str
    metric: str
    selected: float | None
    steps: list[Point]
    dataset: str = ""
    method: str = ""
    selected_step: int = 0


def read(folder: Path, key: str, problems: list[str]) -> list[dict[str, Any]]:
    """Return what was peeked at in a cell, if anything; what is wrong goes to `problems`."""
    files = read_beside(folder, PEEK, key, PeekFile, problems)
    return [found for found in files if found["selected"] is not None and found["steps"]]


def gap(peeked: dict[str, Any]) -> dict[str, float]:
    """Return a cell's selected score, its best on test, and the gap (never negative), as stored."""
    metric = peeked["metric"]
    sign = metric_of(metric).sign
    selected = peeked["selected"]
    # a checkpoint with an undefined score could not have been chosen
    known = [point["test"].get(metric) for point in peeked["steps"]]
    # the selected step is one of them, and the only one where no other has a score
    best = sign * max([sign * selected, *(sign * value for value in known if value is not None)])
    return {
        "selected": selected,
        "best on test": best,
        "gap": sign * (best - selected),
    }


def build(tables: Sequence[Table], problems: list[str]) -> list[Sheet]:
    """Return a sheet per table with peeked cells; each row is one method in one column.

    What is wrong with a file is added to `problems`.
    """
    return [sheet for table in tables if (sheet := _sheet(table, problems))]


def _sheet(table: Table, problems: list[str]) -> Sheet | None:
    rows: list[dict[str, Any]] = []
    num_cells = 0
    for column, chosen in table.chosen.items():
        peeked = chosen[chosen["has_peek"].astype(bool)]
        for method, cells in peeked.groupby("method", sort=False):
            files = [
                found
                for key, folder in zip(cells["key"], cells["folder"], strict=True)
                for found in read(Path(folder), key, problems)
            ]
            if not files:
                continue
            values = [gap(found) for found in files]
            num_cells += len(values)
            rows.append(
                {
                    "method": brief(str(method), table.methods),
                    "data": f"{column.name} {column.amount}",
                    "metric": metric_of(files[0]["metric"]).display,
                    **{
                        name: averaged([v[name] for v in values], files[0]["metric"])
                        for name in values[0]
                    },
                    "checkpoints": max(len(found["steps"]) for found in files),
                }
            )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    forms = {name: lambda score: score.text(2) for name in ("selected", "best on test", "gap")}
    once = {
        (i, data.columns.get_loc(name)): ONCE
        for i, row in enumerate(rows)
        for name in forms
        if row[name].num_seeds == 1
    }
    note = f"{NOTE} Cells: {num_cells}. {table.groups}".strip()
    return Sheet(f"Peek gap on {table.title}", data, note=note, forms=forms, marks=once, keys=2)
