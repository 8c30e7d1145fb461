"""Methods over some columns of a table: average rank, places, and average score with interval.

Legend: M methods, N columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from benchmark.scores import metric_of
from results.statistics import family, ranks
from results.statistics.comparison import Interval, sign
from results.statistics.resample import patients
from results.statistics.samples import Samples
from results.statistics.seeds import noise
from results.tables import Column


@dataclass(frozen=True)
class Average:
    """A mean score over columns, in the units of tables; `interval` (95 %) is None with n = 1."""

    mean: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Summary:
    """What some columns say of the methods that have a score in each of them.

    `ranking` holds average ranks over columns; `tested` those over data sets, with their tests.
    `places` are the first and last place that `family` leaves a method. They and `averages` are
    empty where the columns are not `comparable`.
    """

    columns: tuple[Column, ...]
    methods: tuple[str, ...]
    ranking: ranks.Ranking | None
    tested: ranks.Ranking | None
    places: dict[str, tuple[int, int]]
    averages: dict[str, Average]


def summarise(samples: Samples, methods: Sequence[str], columns: Sequence[Column]) -> Summary:
    """Return the summary of these columns over the `methods` that have a score in each."""
    there = tuple(m for m in methods if columns and all((m, c) in samples for c in columns))
    ranking = tested = None
    if len(there) > 1:
        means = np.array([[sign(c) * samples[m, c].mean for m in there] for c in columns])
        ranking = ranks.Ranking(there, ranks.average_ranks(means.round(9)), len(columns))
        if all(comparable(part) for part in by_set(columns).values()):
            tested = ranks.rank(there, means_of_sets(means, columns))
    alike = comparable(columns)
    return Summary(
        columns=tuple(columns),
        methods=there,
        ranking=ranking,
        tested=tested,
        places=_places(samples, columns, there) if ranking and alike else {},
        averages=_averages(samples, columns, there) if alike else {},
    )


def comparable(columns: Sequence[Column]) -> bool:
    """Return whether all metrics have one unit and one direction.

    A mean of Dice and millimetres says nothing.
    """
    metrics = [metric_of(c.metric) for c in columns]
    return len({(m.unit, m.sign) for m in metrics}) == 1


def by_set(columns: Sequence[Column]) -> dict[str, list[Column]]:
    """Return the columns of each data set, in their order."""
    found: dict[str, list[Column]] = {}
    for column in columns:
        found.setdefault(column.dataset, []).append(column)
    return found


def means_of_sets(values: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """Return the mean of `values` (N, ...) over the columns of each data set, (D, ...).

    A test over blocks needs independent ones. The label fractions of a data set, its versions and
    its splits are tested on the same patients and suit the same methods: taken as blocks, six data
    sets of three fractions let Wilcoxon call equal methods different in 15 to 25 % of all worlds
    and Friedman in 28 to 46 %; their means keep to 5 % (`tests/test_ranks.py`).
    """
    names = np.array([c.dataset for c in columns])
    means = [values[names == name].mean(0) for name in by_set(columns)]
    # rounded: scores that differ in the last bit are equal
    return np.round(means, 9)


def _places(
    samples: Samples, columns: Sequence[Column], ranked: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Return the places that each ranked method may hold, over the columns that tell.

    A column is used where any two methods have several seeds; a method that has one seed in such a
    column has no range, and widens those of the others.
    """
    repeated = {c: {m for m in ranked if samples[m, c].noise} for c in columns}
    used = [c for c, methods in repeated.items() if len(methods) > 1]
    known = [m for m in ranked if used and all(m in repeated[c] for c in used)]
    if len(known) < 2:
        return {}
    return family.places(family.family(samples, known, used), len(ranked) - len(known))


def _averages(
    samples: Samples, columns: Sequence[Column], methods: Sequence[str]
) -> dict[str, Average]:
    """Return the mean over columns of each method; with an interval where all have two seeds.

    As in `comparison.compare` the variance is that over resampled patients plus that of the seeds,
    and the interval is Student's with the degrees of freedom of Satterthwaite (1946). But here a
    seed's effect on all methods alike is part of the error: nothing is paired, so it does not
    cancel.
    """
    alone = {
        c: noise({m: s.scores for (m, at), s in samples.items() if at == c}, paired=False)
        for c in columns
    }
    found = {}
    for method in methods:
        mean = float(np.mean([samples[method, c].mean for c in columns]))
        found[method] = Average(mean)
        if not all(method in alone[c] for c in columns):
            continue
        parts, drawn, groups = [], [], []
        for c in columns:
            sample = samples[method, c]
            parts.append((alone[c][method].variance / len(sample.scores), alone[c][method].freedom))
            over_patients = patients(sample, tuple(sample.scores))
            if over_patients is not None:
                drawn.append(over_patients)
                groups.append(sample.groups)
        if drawn:
            # summed before the variance is taken: columns of one data set share their patients
            parts.append((float(np.nanvar(np.sum(drawn, axis=0))), min(groups) - 1.0))
        variance = sum(part for part, _ in parts)
        below = sum(part**2 / freedom for part, freedom in parts if part)
        freedom = variance**2 / below if below else 1.0
        half = float(special.stdtrit(freedom, 0.975) * np.sqrt(variance)) / len(columns)
        found[method] = Average(mean, (mean - half, mean + half))
    return found
