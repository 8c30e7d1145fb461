"""All records as one tidy table: one row per cell, checked, nothing averaged away.

Columns: the fields of the cell, `state` ("done", "failed", "n/a"), `key`, `labels`, `metric`,
`synthetic`, `val_*`, `test_*` (fractions, not percent) and the costs under their own names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.record import Record, read_records
from benchmark.registry import InputError
from benchmark.spec import Cell, state


@dataclass(frozen=True)
class Frame:
    """The rows, and one sentence per record that could not be read."""

    rows: pd.DataFrame
    faults: tuple[str, ...] = ()

    @property
    def done(self) -> pd.DataFrame:
        """Return the rows of finished cells."""
        return self.rows[self.rows["state"] == "done"]


def load(folders: Sequence[Path], keys: Collection[str] | None = None) -> Frame:
    """Return the frame of all cells below `folders`; with `keys`, of these cells only.

    Raises:
        InputError: for a folder that does not exist, no record at all, or two records of one cell
            with other scores.
    """
    rows: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no folder {str(folder)!r}; name the folder of a run with --runs")
        records, bad = read_records(folder)
        faults += bad
        for row in [*map(_done, records), *_undone(folder)]:
            _add(rows, row)
    if keys is not None:
        rows = {key: row for key, row in rows.items() if key in keys}
    if not rows:
        raise InputError(
            "there is no readable record in "
            + ", ".join(f"{str(f)!r}" for f in folders)
            + "; train cells first with `python -m benchmark run`"
            + "".join(f"; {f}" for f in faults)
        )
    return Frame(pd.DataFrame(rows.values()), tuple(faults))


def _add(rows: dict[str, dict[str, Any]], row: dict[str, Any]) -> None:
    """Add a row; a finished cell outweighs an unfinished copy, two that disagree are refused."""
    known = rows.get(row["key"])
    if known is None or known["state"] != "done":
        rows[row["key"]] = row
    elif row["state"] == "done" and _scores(known) != _scores(row):
        raise InputError(
            f"two records of the cell {row['key']} ({row['method']} on {row['dataset']}) have "
            "other scores; report the folders one by one, or move one record away"
        )


def _scores(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith(("val_", "test_"))}


def _done(record: Record) -> dict[str, Any]:
    return {
        **asdict(record.cell),
        "key": record.cell.key,
        "state": "done",
        "labels": record.data["labels_used"],
        "metric": record.data["metric"],
        "synthetic": record.data["synthetic"],
        "classes": tuple(record.data.get("classes", ())),
        "task": record.data.get("task", ""),
        "ordinal": record.data.get("ordinal", False),
        "device": record.provenance.get("hardware", {}).get("gpu") or "cpu",
        "selected_step": record.selected_step,
        **{f"val_{name}": value for name, value in record.val.items()},
        **{f"test_{name}": value for name, value in record.test.items()},
        **record.cost,
    }


def _undone(folder: Path) -> list[dict[str, Any]]:
    """Return a row for every cell that failed or that its method does not support."""
    rows = []
    for path in sorted(folder.rglob("cell.json")):
        found = {"failed": "failed", "unsupported": "n/a"}.get(state(path.parent))
        if found is None:
            continue
        cell = Cell.from_dict(json.loads(path.read_text()))
        rows.append({**asdict(cell), "key": cell.key, "state": found})
    return rows
