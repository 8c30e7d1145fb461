"""What the scores of a table allow to say: intervals, paired tests, ranks, ties.

A block is one column of the table: a data set at one label fraction. Legend: M methods, N blocks,
R resamples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from benchmark.core.registry import unknown
from results.frame import predictions
from results.statistics import ranks
from results.statistics.comparison import Comparison, Interval, compare, corrected, sign
from results.statistics.resample import RESAMPLES, interval, replicates
from results.statistics.samples import Samples, gather
from results.tables import Column, Table


@dataclass(frozen=True)
class Statistics:
    """Statistics of one table.

    `blockwise` compares every method with `reference` in every block, `overall` every two ranked
    methods over all blocks. `tied` are the methods of a block whose difference to its best has an
    interval that holds 0 (methods of one seed are left out). `unranked` have no score in some
    block. `notes` are sentences; `samples` are the scores behind it all.
    """

    table: Table
    reference: str
    blockwise: tuple[Comparison, ...]
    overall: tuple[Comparison, ...]
    ranking: ranks.Ranking | None
    rank_intervals: dict[str, Interval]
    tied: dict[Column, tuple[str, ...]]
    unranked: tuple[str, ...]
    notes: tuple[str, ...]
    samples: Samples = field(repr=False)


def build(
    tables: Iterable[Table], folders: Sequence[Path], against: str | None = None
) -> list[Statistics]:
    """Return the statistics of each table, from its scores and the predictions below `folders`.

    `against` names the method that the others are compared with; by default it is `full`, or
    where that is absent the method of the best rank.

    Raises:
        InputError: when no table has the method `against`.
    """
    tables = list(tables)
    known = sorted({method for table in tables for method in table.methods})
    if against is not None and not any(against in (m, m.partition("(")[0]) for m in known):
        raise unknown("method in these records", against, known)
    return [
        _statistics(table, predictions.of(table.chosen.values(), folders), against)
        for table in tables
    ]


def _statistics(table: Table, paths: dict[str, Path], against: str | None) -> Statistics:
    samples, notes = gather(table, paths)
    ranked, unranked = _complete(table, samples)
    ranking = None
    if len(ranked) > 1 and table.columns:
        means = np.array([[sign(c) * samples[m, c].mean for m in ranked] for c in table.columns])
        ranking = ranks.rank(ranked, means.round(9))
    reference = _reference(table, samples, ranking, against)
    return Statistics(
        table=table,
        reference=reference,
        blockwise=tuple(_blockwise(table, samples, reference)),
        overall=tuple(_overall(table, samples, ranked)),
        ranking=ranking,
        rank_intervals=_rank_intervals(table, samples, ranked) if ranking else {},
        tied={c: _tied(table, samples, c) for c in table.columns},
        unranked=unranked,
        notes=notes,
        samples=samples,
    )


def _complete(table: Table, samples: Samples) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (methods with a score in every block, the others)."""
    full = [all((m, c) in samples for c in table.columns) for m in table.methods]
    pairs = list(zip(table.methods, full, strict=True))
    return tuple(m for m, ok in pairs if ok), tuple(m for m, ok in pairs if not ok)


def _reference(
    table: Table, samples: Samples, ranking: ranks.Ranking | None, against: str | None
) -> str:
    scored = {method for method, _ in samples}
    wanted = against or "full"
    found = [m for m in table.methods if m in scored and wanted in (m, m.partition("(")[0])]
    if found:
        return found[0]
    if ranking:
        return min(zip(ranking.ranks, ranking.methods, strict=True))[1]
    return max(scored, key=lambda m: sum((m, c) in samples for c in table.columns), default="")


def _blockwise(table: Table, samples: Samples, reference: str) -> list[Comparison]:
    found = [
        compared
        for c in table.columns
        for m in table.methods
        if m != reference and (m, c) in samples and (reference, c) in samples
        if (compared := compare(samples, m, reference, [c]))
    ]
    return corrected(found)


def _overall(table: Table, samples: Samples, ranked: Sequence[str]) -> list[Comparison]:
    if len(table.columns) < 2:
        return []
    found, means = [], {m: np.array([samples[m, c].mean for c in table.columns]) for m in ranked}
    for method, other in itertools.combinations(ranked, 2):
        if compared := compare(samples, method, other, table.columns):
            p = ranks.wilcoxon(np.round(means[method] - means[other], 9))
            found.append(replace(compared, p=p))
    return corrected(found)


def _rank_intervals(table: Table, samples: Samples, ranked: Sequence[str]) -> dict[str, Interval]:
    """Return 95 % intervals of average ranks; none where some entry has one seed."""
    if any(len(samples[m, c].scores) < 2 for m in ranked for c in table.columns):
        return {}
    total = np.zeros((RESAMPLES, len(ranked)))
    for c in table.columns:
        drawn = [replicates(samples[m, c], tuple(sorted(samples[m, c].scores))) for m in ranked]
        scores = sign(c) * np.stack(drawn, 1)
        total += rankdata(-np.where(np.isnan(scores), -np.inf, scores), axis=1)
    means = total / len(table.columns)
    return {m: interval(means[:, i]) for i, m in enumerate(ranked)}


def _tied(table: Table, samples: Samples, column: Column) -> tuple[str, ...]:
    """Return the best method of a column and all whose interval to it holds 0, best first.

    Methods of one seed are left out: nothing tells them apart from any other.
    """
    scored = [m for m in table.methods if (m, column) in samples]
    scored = [m for m in scored if len(samples[m, column].scores) > 1]
    scored.sort(key=lambda m: -sign(column) * samples[m, column].mean)
    found = scored[:1]
    for method in scored[1:]:
        compared = compare(samples, method, scored[0], [column])
        span = compared.interval if compared else None
        if span is None or (span[1] >= 0 if sign(column) > 0 else span[0] <= 0):
            found.append(method)
    return tuple(found)
