"""The scores behind a table, by seed, with what resampled patients make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from results import predictions
from results.frame import Frame
from results.resample import Sample, resample
from results.tables import Column, Table, best_of

Samples = dict[tuple[str, Column], Sample]


def gather(frame: Frame, table: Table, paths: dict[str, Path]) -> tuple[Samples, tuple[str, ...]]:
    """Return the samples behind every number of a table, and what is wrong with predictions."""
    done, samples, notes = frame.done, {}, []
    here = (done["backbone"] == table.backbone) & (done["image_size"] == table.image_size)
    for column in table.columns:
        best = best_of(done[here], column)
        for method, rows in best.groupby("method"):
            if table.scores[str(method), column].mean is not None:
                sample, wrong = _sample(rows, column, paths)
                samples[str(method), column] = sample
                notes += wrong
    return samples, tuple(notes)


def _sample(rows: pd.DataFrame, column: Column, paths: dict[str, Path]) -> tuple[Sample, list[str]]:
    scores, resampled, wrong, groups = {}, {}, [], 0
    for row in rows.dropna(subset=[f"test_{column.metric}"]).to_dict("records"):
        unit = (int(row["split_seed"]), int(row["seed"]))
        scores[unit] = 100 * float(row[f"test_{column.metric}"])
        path = paths.get(row["key"])
        tested = predictions.read(path, column.metric, row["classes"]) if path else None
        if tested is None:
            continue
        again = 100 * float(tested.metric(np.ones((1, len(tested.groups))))[0])
        if abs(again - scores[unit]) < 1e-3:
            resampled[unit] = resample(tested)
            groups = len(tested.groups)
        else:
            wrong.append(
                f"{path} gives {column.metric} {again:.2f}, its record {scores[unit]:.2f}; the "
                "intervals leave its patients out, train the cell again"
            )
    return Sample((column.dataset, column.fraction), scores, resampled, groups), wrong
