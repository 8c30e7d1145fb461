"""One method against another: difference, interval, probability, corrected p-value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.scores import metric_of
from results.statistics import ranks
from results.statistics.resample import interval, p_value, probability, replicates
from results.statistics.samples import Samples
from results.tables import Column

ALPHA = 0.05
Interval = tuple[float, float]


def sign(column: Column) -> int:
    """Return 1, or -1 where less of the column's metric is better."""
    return metric_of(column.metric).sign


@dataclass(frozen=True)
class Comparison:
    """Method minus other, in the units of the table, over `columns` (one, or all ranked ones).

    `seeds` is the smallest number of seeds that both have in a block; with 1 there is no
    `interval`, no `probability` that the method is better, and no `p`. `patients` is the interval
    for these trained models alone: new patients, same seeds. `p` is of the paired bootstrap for
    one block and of Wilcoxon's test over blocks; `p_holm` is corrected over all tests of a kind.
    """

    method: str
    other: str
    columns: tuple[Column, ...]
    difference: float
    seeds: int
    interval: Interval | None = None
    patients: Interval | None = None
    probability: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def gain(self) -> float:
        """Return the difference with the sign that makes more of it better."""
        return sign(self.columns[0]) * self.difference if self.columns else self.difference

    @property
    def verdict(self) -> str:
        """Return "better", "worse", "tie", or "n = 1" where nothing can be said."""
        if self.p_holm is None:
            return "n = 1"
        if self.p_holm >= ALPHA:
            return "tie"
        return "better" if self.gain > 0 else "worse"

    def flipped(self) -> Comparison:
        """Return the same comparison as other minus method."""
        interval, patients = (
            (-found[1], -found[0]) if found else None for found in (self.interval, self.patients)
        )
        return replace(
            self,
            method=self.other,
            other=self.method,
            difference=-self.difference,
            interval=interval,
            patients=patients,
            probability=None if self.probability is None else 1 - self.probability,
        )


def compare(
    samples: Samples, method: str, other: str, columns: Sequence[Column]
) -> Comparison | None:
    """Return the mean difference over `columns` on the seeds that both have; None without any."""
    differences, drawn, patients, counts = [], [], [], []
    for column in columns:
        one, two = samples[method, column], samples[other, column]
        units = tuple(sorted(set(one.scores) & set(two.scores)))
        if not units:
            return None
        counts.append(len(units))
        differences.append(np.mean([one.scores[u] - two.scores[u] for u in units]))
        drawn.append(replicates(one, units) - replicates(two, units))
        if all(u in s.resampled for u in units for s in (one, two)):
            patients.append(np.mean([one.resampled[u] - two.resampled[u] for u in units], axis=0))
    found = Comparison(method, other, tuple(columns), float(np.mean(differences)), min(counts))
    if len(patients) == len(columns):
        found = replace(found, patients=interval(np.mean(patients, axis=0)))
    if found.seeds < 2:
        return found
    mean = np.mean(drawn, axis=0)
    mean = np.where(np.abs(mean) < 1e-4, 0, mean)  # what float32 leaves of an exact tie
    better = probability(sign(columns[0]) * mean)
    return replace(found, interval=interval(mean), probability=better, p=p_value(mean))


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with Holm's correction over all of them that have a p-value."""
    corrected: Iterator[float] = iter(ranks.holm([c.p for c in found if c.p is not None]))
    return [c if c.p is None else replace(c, p_holm=next(corrected)) for c in found]
