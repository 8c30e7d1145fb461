"""Score against the number of trials, from the records alone: what a smaller budget would give.

Legend: N trials of one method on one (data set, fraction), k of them tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import pandas as pd

from benchmark.scores import metric_of
from results.tables import Column, Table
from results.tables.select import TUNED


def expected(val: np.ndarray, test: np.ndarray, *, less: bool = False) -> np.ndarray:
    """Return (N,): the expected test score of the best trial on validation among k = 1 ... N.

    Exact, over all subsets of k of the N trials: the i-th best is chosen with the probability
    C(N - i, k - 1) / C(N, k), i = 1 ... N. `val`, `test` (N,).
    """
    # a stable sort: of equal validation scores the first trial is taken, as in `select`
    ranked = test[np.argsort(val if less else -val, kind="stable")]
    count = len(ranked)
    return np.array(
        [
            sum(comb(count - i, k - 1) * ranked[i - 1] for i in range(1, count - k + 2))
            / comb(count, k)
            for k in range(1, count + 1)
        ]
    )


def curves(rows: pd.DataFrame, column: Column) -> dict[str, np.ndarray]:
    """Return the curve of each method with more than one trial, in the units of tables.

    `rows` are of one table's setting.
    """
    done = column.of(rows[rows["state"] == "done"])
    names = [f"val_{column.metric}", f"test_{column.metric}"]
    found = {}
    # a trial is judged by its mean over seeds, as the choice in the tables is
    every = done.groupby(["method", *TUNED])[names].mean().dropna()
    for method, means in every.groupby(level="method"):
        if len(means) > 1:
            val, test = (means[name].to_numpy() for name in names)
            less = metric_of(column.metric).lower_is_better
            found[str(method)] = metric_of(column.metric).scale * expected(val, test, less=less)
    return found


def frame(tables: Sequence[Table], rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method, column and number of trials; empty where nothing was tuned."""
    return pd.DataFrame(
        {
            "backbone": table.name,
            "image_size": table.image_size,
            "dataset": column.name,
            "labels": column.share,
            "metric": column.metric,
            "method": method,
            "trials": k,
            "expected_test": value,
        }
        for table in tables
        for column in table.columns
        for method, curve in curves(table.of(rows), column).items()
        for k, value in enumerate(curve, 1)
    )
