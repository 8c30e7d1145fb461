"""What the page shows, as plain values for JSON.

Legend: M methods, N columns of one table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from benchmark.scores import metric_of
from results.costs.ledger import Entry, Ledger, note
from results.figures.style import looks
from results.frame import Frame
from results.html.provenance import provenance
from results.statistics import words
from results.statistics.stats import Statistics
from results.tables import Column, Table, external, marks, peek
from results.tables.naming import brief
from results.tables.select import RULE
from results.tables.sheet import BEST, terminal

Values = dict[str, Any]


def contents(frame: Frame, statistics: Sequence[Statistics], ledgers: Sequence[Ledger]) -> Values:
    """Return everything that the page shows, without the downloads."""
    states = frame.rows["state"].value_counts()
    chosen = [best for s in statistics for best in s.table.chosen.values()]
    tables = [s.table for s in statistics]
    return {
        "tables": [_table(s, ledger) for s, ledger in zip(statistics, ledgers, strict=True)],
        "counts": {str(state): int(count) for state, count in states.items()},
        "rule": RULE,
        "about": provenance(pd.concat(chosen) if chosen else frame.rows[:0]),
        "notes": [terminal(sheet) for sheet in (*external.build(tables), *peek.build(tables))],
        "faults": list(frame.faults),
    }


def _table(s: Statistics, ledger: Ledger) -> Values:
    table = s.table
    scores = [_scores(s, column) for column in table.columns]
    return {
        "backbone": table.name,
        "size": table.image_size,
        "caption": table.caption,
        "columns": [_column(table, column, s) for column in table.columns],
        "methods": _methods(table),
        "scores": [list(row) for row in zip(*scores, strict=True)],
        "statistics": words.text(s),
        "ledger": {
            "devices": list(ledger.devices),
            "caption": note(ledger),
            "entries": [_entry(e) for e in ledger.entries],
        },
    }


def _column(table: Table, column: Column, s: Statistics) -> Values:
    tied = [brief(m, table.methods) for m in s.tied[column]]
    return {
        "dataset": column.name,
        "share": column.share,
        "labels": column.labels,
        "metric": column.metric.replace("_", " "),
        "percent": metric_of(column.metric).is_share,
        "less": metric_of(column.metric).lower_is_better,
        "synthetic": column.synthetic,
        "tied": tied,
    }


def _methods(table: Table) -> list[Values]:
    look = looks(table.methods)
    known = {m: not math.isnan(table.costs[m].trained) for m in table.methods}
    return [
        {
            "spec": method,
            "name": brief(method, table.methods),
            "colour": look[method].hex,
            "marker": look[method].marker,
            "dash": {"-": "", "--": "6 4", ":": "2 3"}[look[method].line],
            "trained": int(costs.trained) if known[method] else None,
            "share": f"{costs.share:.2f}%" if known[method] else "",
            "stored": f"{costs.stored_mib:.3g} MiB ({costs.copy_share:.1f}%)"
            if known[method]
            else "",
        }
        for method in table.methods
        for costs in [table.costs[method]]
    ]


def _scores(s: Statistics, column: Column) -> list[list[Any]]:
    """Return [mean, spread, seeds, reason, standing, trials, decimals] of each method in a column.

    The standing is "best" (by the printed mean), "tied" (noise does not tell it from the best of
    several seeds) or "".
    """
    marked = marks(s.table, column)
    chosen = s.table.chosen[column].drop_duplicates("method").set_index("method")["trials"]
    found: list[list[Any]] = []
    for method in s.table.methods:
        score = s.table.scores[method, column]
        if score.mean is None:
            found.append([None, None, 0, score.reason, "", None, 1])
            continue
        spread = None if score.spread is None else round(score.spread, 4)
        standing = "best" if BEST in marked[method] else "tied" if method in s.tied[column] else ""
        trials = int(chosen[method]) if method in chosen.index else None
        found.append(
            [round(score.mean, 4), spread, score.num_seeds, "", standing, trials, score.decimals]
        )
    return found


def _entry(entry: Entry) -> Values:
    return {field.name: getattr(entry, field.name) for field in fields(Entry)}
