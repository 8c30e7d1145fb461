"""The scores behind a table, by seed, with what resampled patients make of them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.scores import metric_of
from results.frame import predictions
from results.statistics.resample import Sample, resample
from results.statistics.seeds import noise
from results.tables import Column, Table

_DAMAGED = (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile, zlib.error)
MOST_CELLS = 10_000  # 40 kB and 5 ms each
Samples = dict[tuple[str, Column], Sample]


def gather(table: Table, paths: dict[str, Path]) -> tuple[Samples, tuple[str, ...]]:
    """Return the samples behind every number of a table, and what is wrong with predictions."""
    samples: Samples = {}
    notes: list[str] = []
    if (count := sum(map(len, table.chosen.values()))) > MOST_CELLS:
        paths = {}
        notes.append(
            f"the patients of {count:,} cells are too many to resample, intervals are over seeds "
            f"alone; up to {MOST_CELLS:,} cells have both"
        )
    for column, best in table.chosen.items():
        names = ["method", "key", "split_seed", "seed", "classes", f"test_{column.metric}"]
        rows: dict[str, list[_Row]] = {}
        for method, *row in best[names].dropna().itertuples(index=False, name=None):
            rows.setdefault(method, []).append(_Row(*row))
        for method, cells in rows.items():
            if table.scores[method, column].mean is not None:
                samples[method, column], wrong = _sample(cells, column, paths)
                notes += wrong
    for column in table.columns:  # what seeds do to all methods alike shows in the whole column
        here = {m: samples[m, column] for m in table.methods if (m, column) in samples}
        for method, found in noise({m: s.scores for m, s in here.items()}).items():
            samples[method, column] = replace(here[method], noise=found)
    return samples, tuple(notes)


class _Row(NamedTuple):
    key: str
    split_seed: int
    seed: int
    classes: tuple[str, ...]
    score: float


def _sample(
    rows: Sequence[_Row], column: Column, paths: dict[str, Path]
) -> tuple[Sample, list[str]]:
    scores, resampled, wrong, groups = {}, {}, [], 0
    metric = metric_of(column.metric)
    for row in rows:
        unit = (int(row.split_seed), int(row.seed))
        scores[unit] = metric.scale * float(row.score)
        path = paths.get(row.key)
        try:
            tested = predictions.read(path, column.metric, row.classes) if path else None
        except _DAMAGED as error:
            wrong.append(f"{path} is not whole ({error}); the intervals leave its patients out")
            continue
        if path is None or tested is None:
            continue
        again = metric.scale * float(tested.metric(np.ones((1, len(tested.groups))))[0])
        if abs(again - scores[unit]) < 1e-3:
            resampled[unit] = resample(tested, metric.scale)
            groups = len(tested.groups)
        else:
            wrong.append(
                f"{path} gives {column.metric} {again:.2f}, its record {scores[unit]:.2f}; the "
                "intervals leave its patients out, train the cell again"
            )
    return Sample((column.dataset, column.share), scores, resampled, groups), wrong
