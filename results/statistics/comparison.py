"""One method against another: difference, interval, probability, corrected p-value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from benchmark.scores import metric_of
from results.statistics import ranks
from results.statistics.resample import interval, patients
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

    Over several columns, those where one of the two has a single seed are left out of everything
    but `p`, unless there are no others: an unknown scatter would leave nothing to say of the rest.
    `seeds` is the smallest number of seeds that both have in a block; with 1 there is no
    `interval`, no `probability` that the method is better, and no `p`. `patients` is the interval
    for these trained models alone: new patients, same seeds. `p` is of a t-test for one block and
    of Wilcoxon's test over data sets; `p_holm` is corrected over all tests of a kind.
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
    test: str = "t"

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
    """Return the mean difference over `columns` on the seeds that both have; None without any.

    Its squared standard error is the variance of the difference over resampled patients (paired, G
    groups) plus the seeds' share of both methods (`seeds.noise`). The test is Student's t with the
    degrees of freedom of Satterthwaite (1946). It has no smallest p-value that a correction for
    many tests could not pass, as counting R resamples has.
    """
    shared = {
        column: tuple(sorted(samples[method, column].scores.keys() & samples[other, column].scores))
        for column in columns
    }
    if not all(shared.values()):
        return None
    # seeds are paired by number: the same seed gave both methods the same split and batches
    repeated = [column for column, units in shared.items() if len(units) > 1]
    used = tuple(repeated or columns)
    differences, drawn, groups, parts = [], [], [], []
    for column in used:
        one, two, units = samples[method, column], samples[other, column], shared[column]
        differences.append(np.mean([one.scores[u] - two.scores[u] for u in units]))
        first, second = patients(one, units), patients(two, units)
        # paired by patient: what a hard test set does to both methods cancels
        if first is not None and second is not None:
            drawn.append(first - second)
            groups.append(min(one.groups, two.groups))
        if one.noise and two.noise:
            freedom = min(one.noise.freedom, two.noise.freedom)
            parts.append(((one.noise.variance + two.noise.variance) / len(units), freedom))
    found = Comparison(
        method, other, used, float(np.mean(differences)), min(len(shared[c]) for c in used)
    )
    if len(drawn) == len(used):
        found = replace(found, patients=interval(np.mean(drawn, axis=0)))
    if not repeated:
        return found
    if drawn:
        over_patients = np.sum(drawn, axis=0)
        parts.append((float(np.nanvar(over_patients)), min(groups) - 1.0))
    # Satterthwaite: as many degrees of freedom as a chi-square of this mean and variance has
    variance = sum(part for part, _ in parts)
    below = sum(part**2 / freedom for part, freedom in parts if part)
    error = np.sqrt(variance) / len(used)
    if abs(found.difference) < 1e-9 and error < 1e-4:  # what float32 leaves of an exact tie
        return replace(found, interval=(0.0, 0.0), probability=0.5, p=1.0)
    # without any scatter the difference is certain; a tiny error says so without dividing by 0
    error = max(error, 1e-9)
    freedom = variance**2 / below if below else 1.0
    # by hand: an object of scipy's `stats.t` takes a millisecond, and there are thousands of pairs
    above_zero = float(special.stdtr(freedom, found.difference / error))
    better = above_zero if sign(columns[0]) > 0 else 1 - above_zero
    p = min(1.0, 2 * float(special.stdtr(freedom, -abs(found.difference) / error)))
    half = float(special.stdtrit(freedom, 0.975)) * error
    between = (found.difference - half, found.difference + half)
    return replace(found, interval=between, probability=better, p=p)


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with Holm's correction over all of them that have a p-value."""
    corrected: Iterator[float] = iter(ranks.holm([c.p for c in found if c.p is not None]))
    return [c if c.p is None else replace(c, p_holm=next(corrected)) for c in found]
