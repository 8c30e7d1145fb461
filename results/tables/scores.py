"""The table of scores as a sheet to print, and as one tidy row per entry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.scores import metric_of
from results.tables import Table, marks
from results.tables.naming import brief
from results.tables.sheet import Sheet

COST_HEADER = {"trained": "trained", "share": "%", "stored_mib": "MiB"}
COST_FORMS = {
    "trained": lambda value: f"{value:,.0f}",
    "share": lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}",
    "stored_mib": lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}",
}


def sheet(table: Table) -> Sheet:
    """Return methods x columns; data set over metric over share and number of labels."""
    places = {column: marks(table, column) for column in table.columns}
    data: dict[Any, list[Any]] = {
        ("", "", "method"): [brief(m, table.methods) for m in table.methods]
    }
    marked = {}
    for j, column in enumerate(table.columns, 1):
        mark = " (synthetic)" if column.synthetic else ""
        metric = metric_of(column.metric).display
        head = (column.name + mark, metric, column.amount)
        data[head] = [table.scores[m, column] for m in table.methods]
        for i, method in enumerate(table.methods):
            if found := places[column].get(method):
                marked[i, j] = found
    # costs come last: readers look for scores, and a wide table is broken between header groups
    forms = {}
    for name, shown in COST_HEADER.items():
        data["", "", shown] = [getattr(table.costs[m], name) for m in table.methods]
        forms["", "", shown] = COST_FORMS[name]
    note = f"{table.caption} %: of the backbone's values; MiB: stored, with the head."
    return Sheet(f"Scores on {table.title}", pd.DataFrame(data), "", note, forms, marked)


def tidy(tables: Sequence[Table]) -> pd.DataFrame:
    """Return one row per table, method and column: mean, sd and n, or the reason there is none.

    Scores and deviations are in units of tables (x 100 for shares); costs are those of `Costs`.
    """
    rows = []
    for table in tables:
        for column in table.columns:
            places = marks(table, column)
            for method in table.methods:
                score = table.scores[method, column]
                rows.append(
                    {
                        "backbone": table.backbone,
                        "image_size": table.image_size,
                        "method": method,
                        "dataset": column.dataset,
                        "synthetic": column.synthetic,
                        "metric": column.metric,
                        "fraction": column.fraction,
                        "shots": column.shots,
                        "labels": column.labels,
                        "mean": math.nan if score.mean is None else score.mean,
                        "sd": math.nan if score.spread is None else score.spread,
                        "n": score.num_seeds,
                        "reason": score.reason,
                        "marks": places.get(method, ""),
                        **table.costs[method]._asdict(),
                        "weights": table.weights,
                        "precision": table.precision,
                        "normalize": table.normalize,
                        "data": column.data,
                        "split_seed": column.split,
                    }
                )
    return pd.DataFrame(rows).astype({"split_seed": "Int64"}) if rows else pd.DataFrame()
