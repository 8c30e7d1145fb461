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

from benchmark.core.registry import unknown
from benchmark.core.spec import base_name
from results.frame import predictions
from results.statistics import family, ranks
from results.statistics.comparison import Comparison, compare, corrected
from results.statistics.samples import Samples, gather
from results.statistics.summary import Average, comparable, means_of_sets, summarise
from results.tables import Column, Table
from results.tables.naming import brief


@dataclass(frozen=True)
class Statistics:
    """Statistics of one table.

    `blockwise` compares every method with `reference` in every block, `overall` every two ranked
    methods over all blocks, where these are `comparable`. `ranking` holds average ranks over
    blocks, `tested` those over data sets. `tied` are the methods of a block that may be its best,
    `places` the first and last place that a ranked method may hold over all blocks, both as
    `family` says (methods of one seed are in neither); `averages` are the mean scores of ranked
    methods. `unranked` have no score in some block. `notes` are sentences; `samples` are the scores
    behind it all.
    """

    table: Table
    reference: str
    blockwise: tuple[Comparison, ...]
    overall: tuple[Comparison, ...]
    ranking: ranks.Ranking | None
    tested: ranks.Ranking | None
    places: dict[str, tuple[int, int]]
    averages: dict[str, Average]
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
    if against is not None and not any(against in (m, base_name(m)) for m in known):
        raise unknown("method in these records", against, known)
    return [
        _statistics(table, predictions.of(table.chosen.values(), folders), against)
        for table in tables
    ]


def _statistics(table: Table, paths: dict[str, Path], against: str | None) -> Statistics:
    samples, notes = gather(table, paths)
    whole = summarise(samples, table.methods, table.columns)
    reference = _reference(table, samples, whole.ranking, against)
    blockwise = _blockwise(table, samples, reference)
    return Statistics(
        table=table,
        reference=reference,
        blockwise=tuple(blockwise),
        overall=tuple(_overall(table, samples, whole.methods)),
        ranking=whole.ranking,
        tested=whole.tested,
        places=whole.places,
        averages=whole.averages,
        tied={c: _tied(table, samples, c) for c in table.columns},
        unranked=tuple(m for m in table.methods if m not in whole.methods),
        notes=(*notes, *_unpaired(samples, reference, blockwise)),
        samples=samples,
    )


def _reference(
    table: Table, samples: Samples, ranking: ranks.Ranking | None, against: str | None
) -> str:
    # a reference must have scores: `full` that failed everywhere compares with nothing
    scored = {method for method, _ in samples}
    wanted = against or "full"
    found = [m for m in table.methods if m in scored and wanted in (m, base_name(m))]
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


def _unpaired(samples: Samples, reference: str, blockwise: Sequence[Comparison]) -> Iterable[str]:
    """Yield a sentence for the methods that were not compared, because they share no seed."""
    compared = {(c.method, c.columns[0]) for c in blockwise}
    apart: dict[str, None] = {}
    for method, column in samples:
        here = (method, column) not in compared and (reference, column) in samples
        if here and method != reference:
            apart[f"{brief(method, [m for m, _ in samples])} on {column.name} {column.share}"] = (
                None
            )
    if apart:
        names = ", ".join(apart)
        yield f"not compared with {base_name(reference)}, no seed and split in common: {names}"


def _overall(table: Table, samples: Samples, ranked: Sequence[str]) -> list[Comparison]:
    if len(table.columns) < 2 or not comparable(table.columns):
        return []
    found, means = [], {m: np.array([samples[m, c].mean for c in table.columns]) for m in ranked}
    # every two, because Holm over all pairs holds whichever pair a reader picks
    for method, other in itertools.combinations(ranked, 2):
        if compared := compare(samples, method, other, table.columns):
            p = ranks.wilcoxon(means_of_sets(means[method] - means[other], table.columns))
            found.append(replace(compared, p=p, test="Wilcoxon over data sets"))
    return corrected(found)


def _tied(table: Table, samples: Samples, column: Column) -> tuple[str, ...]:
    """Return the methods of a column that may be its best, best first.

    Methods of one seed are left out: nothing tells them apart from any other.
    """
    scored = [m for m in table.methods if (m, column) in samples and samples[m, column].noise]
    if not scored:
        return ()
    return family.best_or_tied(family.family(samples, scored, [column]))
