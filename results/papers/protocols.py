"""The same cells under a paper's protocol and under this one: how much of a claim is protocol.

A protocol is taken apart one habit at a time: one seed instead of several, the first files of each
class instead of drawn groups (`subset` of a cell), the checkpoint chosen on test (`--peek`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.scores import metric_of
from results.frame import Frame
from results.tables import Score, build, peek, place
from results.tables.naming import brief
from results.tables.sheet import Sheet

OURS, ONE, FIRST, AUTHORS = "here", "one seed", "and first files", "and chosen on test"
NOTE = (
    "here: drawn labels, checkpoint chosen on validation, mean ± standard deviation over seeds. "
    "The next columns change one habit each and keep those before: one seed (the lowest), the "
    "first files of each class as labels, the checkpoint chosen on the test set. gain: the last "
    "column minus the first, in points of the scores; it is no progress of the method."
)


def sheets(loaded: Frame) -> list[Sheet]:
    """Return a sheet per setting that was run with drawn labels and with the first ones."""
    tables = build(loaded)
    found = []
    for table in tables:
        others = [t for t in tables if t.subset == "first" and _alike(t) == _alike(table)]
        if table.subset != "drawn" or not others:
            continue
        rows = []
        for column, drawn in table.chosen.items():
            for other, first in others[0].chosen.items():
                same = ("dataset", "data", "fraction", "shots", "metric")
                if any(getattr(column, name) != getattr(other, name) for name in same):
                    continue
                for method in table.methods:
                    ours, theirs = (part[part["method"] == method] for part in (drawn, first))
                    if row := _row(ours, theirs, column.metric):
                        where = {"data": f"{column.name} {column.share}"}
                        rows.append({"method": brief(method, table.methods), **where, **row})
        if rows:
            title = f"Protocols on {place(table.backbone, table.image_size)}"
            found.append(Sheet(title, pd.DataFrame(rows, dtype=object), note=NOTE, keys=2))
    return found


def _alike(table: Any) -> tuple[Any, ...]:
    names = ("backbone", "image_size", "weights", "precision", "normalize", "patience")
    return tuple(getattr(table, name) for name in names)


def _row(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Return the scores of one method under each habit; empty where one of both has no record."""
    name, known = f"test_{metric}", metric_of(metric)
    seeds = sorted(set(ours["seed"]) & set(theirs["seed"]))
    if not seeds or ours[name].isna().any():
        return {}

    def score(value: float | None, spread: float | None = None, count: int = 1) -> Score:
        shown = None if value is None else known.scale * float(value)
        reason = "" if shown is not None else "no --peek"
        return Score(shown, spread, count, reason, known.decimals)

    count = len(ours)
    spread = known.scale * float(ours[name].std()) if count > 1 else None
    one, first = (part[part["seed"] == seeds[0]].iloc[0] for part in (ours, theirs))
    peeked = [
        peek.gap(found)["best on test"]
        for found in peek.read(Path(first["folder"]), first["key"], [])
        if found["metric"] == metric
    ]
    mean, best = float(ours[name].mean()), peeked[0] if peeked else None
    gain = None if best is None else known.scale * (best - mean)
    return {
        "metric": known.display,
        OURS: score(mean, spread, count),
        ONE: score(one[name]),
        FIRST: score(first[name]),
        AUTHORS: score(best),
        "gain": None if gain is None else f"{gain:+z.{known.decimals}f}",
    }
