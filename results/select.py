"""Selection rules: which trial of a method is reported. Always on validation, never on test."""

from __future__ import annotations

import pandas as pd

from results.direction import less_is_better

# What is tuned: cells that differ in nothing else are trials of one method.
TUNED = (
    "lr",
    "head_lr",
    "weight_decay",
    "steps",
    "batch_size",
    "warmup",
    "clip",
    "evaluations",
    "augment",
    "views",
    "balance",
    "output",
)
GROUP = ("dataset", "backbone", "method", "fraction", "shots", "image_size")
RULE = "trial with the best mean validation score over seeds"


def best_trials(done: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of the best trial of each group, with `trials`, how many there were.

    A trial is a setting of the tuned axes; its score is the mean of `val_METRIC` over seeds. Ties
    go to the trial that comes first in the order of the tuned axes.
    """
    parts = []
    for _, group in done.groupby(list(GROUP), sort=True):
        scores = group.groupby(list(TUNED), sort=True)[f"val_{metric}"].mean()
        least = less_is_better(metric)
        first = scores.idxmin if least else scores.idxmax
        best = first() if scores.notna().any() else scores.index[0]
        chosen = group[(group[list(TUNED)] == list(best)).all(axis=1)]
        parts.append(chosen.assign(trials=len(scores)))
    return pd.concat(parts) if parts else done.assign(trials=0)
