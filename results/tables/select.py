"""Selection rules: which trial of a method is reported. Always on validation, never on test."""

from __future__ import annotations

import pandas as pd

from benchmark.scores import metric_of

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
    "tuned",
)
# Cells that differ in one of these stand in tables of their own; in one of those below, in columns.
SETTING = (
    *("backbone", "weights", "normalize", "image_size", "precision"),
    *("patience", "subset"),
)
BLOCK = ("dataset", "data", "fraction", "shots")
GROUP = (*SETTING, *BLOCK, "method")
RULE = "trial with the best mean validation score over seeds"


def best_trials(done: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of the best trial of each group, with `trials`, how many there were.

    A trial is a setting of the tuned axes; its score is the mean of `val_METRIC` over seeds. Ties
    go to the trial that comes first in the order of the tuned axes. In a group where that score is
    undefined for a run (no grade but one, no structure at all in the validation images) the lowest
    validation loss chooses.
    """
    if done.empty:
        return done.assign(trials=0)
    sign = metric_of(metric).sign
    group = done.groupby(list(GROUP), sort=True).ngroup()
    trial = done.groupby([*GROUP, *TUNED], sort=True).ngroup()
    scores = sign * done[f"val_{metric}"].astype(float)
    if "val_loss" in done:
        undefined = scores.isna().groupby(group).transform("any")
        scores = scores.where(~undefined, -done["val_loss"].astype(float))
    means = scores.groupby(trial).mean()
    trials = pd.DataFrame({"score": means, "group": group.groupby(trial).first()})
    best = trials.sort_values("score", ascending=False, kind="stable").drop_duplicates("group")
    counts = trials["group"].value_counts()
    return done[trial.isin(best.index)].assign(trials=group.map(counts))
