"""Scores of trained cells on external sets (`run --test-on`), beside their own test scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.scores import metric_of


def load(folders: Sequence[Path], rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell among `rows` and external set: scores in the units of tables."""
    known = rows.set_index("key")
    paths = (p for folder in folders for p in sorted(folder.rglob("external/*.json")))
    found = []
    for path in paths:
        try:
            values = json.loads(path.read_text())
            if values["key"] in known.index:
                found.append(_row(values, known.loc[values["key"]]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half a file is no score; the records do not depend on it
    return pd.DataFrame(found)


def _row(found: dict[str, Any], own: pd.Series) -> dict[str, Any]:
    metric = found["metric"]
    outside = found["test"][metric]
    return {
        "trained on": own["dataset"],
        "tested on": found["dataset"],
        "images": found["images"],
        "labels": own["labels"],
        "method": own["method"].partition("(")[0],
        "own test": metric_of(metric).scale * own[f"test_{metric}"],
        "external": None if outside is None else metric_of(metric).scale * outside,
        "metric": metric,
    }


def text(folders: Sequence[Path], rows: pd.DataFrame) -> str:
    """Return the table of means over seeds, or nothing where no cell was tested outside."""
    found = load(folders, rows)
    if found.empty:
        return ""
    keys = ["trained on", "tested on", "images", "metric", "labels", "method"]
    means = found.groupby(keys)[["own test", "external"]].mean()
    means["cells"] = found.groupby(keys).size()
    body = tabulate(means.reset_index(), headers="keys", showindex=False, floatfmt=".1f")
    return f"External test sets: nothing was trained or chosen on them.\n\n{body}\n"
