"""The scores behind a table, by seed, with what resampled patients make of them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.core.files import cache_folder, read_bytes, read_json, write_json
from benchmark.core.registry import InputError
from benchmark.scores import Metric, metric_of
from results.frame import predictions
from results.statistics.resample import RESAMPLES, Sample, resample
from results.statistics.seeds import noise
from results.tables import Column, Table

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
    return samples, tuple(dict.fromkeys(notes))


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
            found = _replicates(path, metric, row.classes) if path else None
        except predictions.DAMAGED as error:
            wrong.append(f"{path} is not whole ({error}); the intervals leave its patients out")
            continue
        if found is None:
            continue
        if found.groups < 2:
            where = f"{column.name} {column.share}"
            wrong.append(f"{where} is tested on one group, so its intervals are over seeds alone")
            continue
        # predictions of another run than the record would give intervals around another score
        again = metric.scale * found.score
        if abs(again - scores[unit]) < 1e-3:
            resampled[unit] = metric.scale * found.drawn
            groups = found.groups
        else:
            wrong.append(
                f"{path} gives {column.metric} {again:.2f}, its record {scores[unit]:.2f}; the "
                "intervals leave its patients out, train the cell again"
            )
    return Sample((column.dataset, column.share), scores, resampled, groups), wrong


class _Replicates(NamedTuple):
    """A metric of stored predictions: of all `groups` test groups, and of each resample, (R,)."""

    score: float
    groups: int
    drawn: np.ndarray


def _replicates(path: Path, metric: Metric, classes: Sequence[str]) -> _Replicates | None:
    """Return the resampled metric of the predictions in `path`; None where they do not hold it.

    Kept in the user's cache by the digest of the predictions: a report of a large test set takes
    seconds per cell once, and milliseconds the next time. Not beside the record, since a report
    writes nothing into the runs that it reads.
    """
    named = (read_bytes(path), metric.name, metric.since, RESAMPLES, classes)
    digest = hashlib.sha256(repr(named[1:]).encode() + named[0]).hexdigest()[:32]
    kept = cache_folder() / "resampled" / digest[:2] / f"{digest}.json"
    try:
        stored = read_json(kept, "")
        drawn = np.array(stored["drawn"], float)
        if drawn.shape == (RESAMPLES,):
            return _Replicates(float(stored["score"]), int(stored["groups"]), drawn)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not kept yet, or damaged: made anew
    tested = predictions.read(path, metric.name, classes)
    if tested is None:
        return None
    score = float(tested.metric(np.ones((1, len(tested.groups))))[0])
    # rounded before use, so that a report says the same whether it drew or read them
    drawn = resample(tested, 1.0).astype(float).round(7)
    found = _Replicates(score, len(tested.groups), drawn)
    values = [None if np.isnan(value) else value for value in drawn.tolist()]
    if not np.isnan(score):
        with contextlib.suppress(InputError):  # a cache that cannot be written only costs time
            write_json(kept, {"score": score, "groups": found.groups, "drawn": values})
    return found
