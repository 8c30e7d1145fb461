"""The peek gap as text: best-on-test minus selected, from files that no guarded table reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.core.record import PEEK
from benchmark.scores import metric_of


def load(folders: Sequence[Path], keys: Collection[str]) -> pd.DataFrame:
    """Return one row per peeked cell among `keys`: method, dataset, selected, best, gap, steps."""
    rows = []
    for path in (p for folder in folders for p in sorted(folder.rglob(PEEK))):
        try:
            found = json.loads(path.read_text())
            if found["key"] in keys:
                rows.append(_row(found))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half a file is no peek; the records do not depend on it
    return pd.DataFrame(rows)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    metric = found["metric"]
    known = [point["test"][metric] for point in found["steps"]]
    sign = metric_of(metric).sign
    best = sign * max(sign * value for value in known if value is not None)
    unit = metric_of(metric).scale
    return {
        "method": found["method"].partition("(")[0],
        "data set": found["dataset"],
        "selected": unit * found["selected"],
        "best on test": unit * best,
        "gap": unit * sign * (best - found["selected"]),
        "checkpoints": len(known),
    }


def text(folders: Sequence[Path], keys: Collection[str]) -> str:
    """Return the table of mean gaps, or nothing where no cell was peeked into."""
    rows = load(folders, keys)
    if rows.empty:
        return ""
    grouped = rows.groupby(["data set", "method"], sort=True)
    means = grouped[["selected", "best on test", "gap"]].mean().round(2)
    means["cells"] = grouped.size()
    means["checkpoints"] = grouped["checkpoints"].max()
    body = tabulate(means.reset_index(), headers="keys", showindex=False, floatfmt=".2f")
    return (
        "Peek gap: what choosing the checkpoint on the test set would have gained. Not in any "
        f"table above.\n\n{body}\n\nMean gap: {rows['gap'].mean():.2f} points.\n"
    )
