"""How many seeds are needed to see a difference of D points, from the scatter seen so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import nct, norm, t
from tabulate import tabulate

from benchmark.core.registry import InputError
from benchmark.scores import metric_of
from results.statistics.samples import Samples
from results.statistics.stats import Statistics
from results.tables import Column
from results.tables.naming import brief

ALPHA, POWER, MOST = 0.05, 0.8, 1000


@dataclass(frozen=True)
class SampleSize:
    """What one column needs; deviations are of the difference between a method and the reference.

    `seed_deviation` is over seeds (of one seed's difference), `test_error` that of resampled test
    groups, both pooled over methods as root mean squares; None where there is nothing to pool.
    `seeds` is None where no number of them helps, because the test set of `groups_now` test groups
    is too small: it takes more than `groups` of them in all.
    """

    column: Column
    methods: int
    seed_deviation: float | None
    test_error: float | None
    seeds: int | None
    groups: int | None = None
    groups_now: int = 0


def sample_sizes(statistics: Statistics, points: float) -> list[SampleSize]:
    """Return the sample size of each column to see `points` against the reference with 80 % power.

    Raises:
        InputError: for points that are not above 0.
    """
    if not points > 0:
        raise InputError(f"--plan-seeds {points:g} is not a difference; give points above 0")
    return [_sample_size(statistics, column, points) for column in statistics.table.columns]


def _sample_size(s: Statistics, column: Column, points: float) -> SampleSize:
    variances: list[float] = []
    errors: list[float] = []
    for method in s.table.methods:
        if method != s.reference and {(method, column), (s.reference, column)} <= set(s.samples):
            over_seeds, over_patients = _scatter(s.samples, method, s.reference, column)
            variances += over_seeds
            errors += over_patients
    deviation, error = (math.sqrt(np.mean(v)) if v else None for v in (variances, errors))
    found = SampleSize(column, len(variances), deviation, error, None)
    if deviation is None:
        return found
    needed = (norm.isf(ALPHA / 2) + norm.ppf(POWER)) * (error or 0)
    if needed >= points:
        most = max(sample.groups for (_, c), sample in s.samples.items() if c == column)
        # The error of the patients falls with the root of their number. At `groups` it takes all
        # that `points` leave, and the seeds must not scatter at all: hence "more than".
        groups = math.ceil(most * (needed / points) ** 2)
        return replace(found, groups=groups, groups_now=most)
    return replace(found, seeds=seeds_needed(math.sqrt(points**2 - needed**2), deviation))


def _scatter(
    samples: Samples, method: str, other: str, column: Column
) -> tuple[list[float], list[float]]:
    """Return ([variance over seeds], [variance over resampled patients]) of the difference."""
    one, two = samples[method, column], samples[other, column]
    units = sorted(set(one.scores) & set(two.scores))
    variance, error = [], []
    if len(units) > 1:
        variance = [float(np.var([one.scores[u] - two.scores[u] for u in units], ddof=1))]
    if units and all(u in sample.resampled for u in units for sample in (one, two)):
        drawn = np.mean([one.resampled[u] - two.resampled[u] for u in units], axis=0)
        error = [float(np.nanvar(drawn))]
    return variance, error


def seeds_needed(points: float, deviation: float) -> int:
    """Return the fewest seeds whose paired t-test sees `points` (5 %, two-sided) 4 times in 5.

    At least 2; MOST + 1 where MOST are not enough.
    """
    if deviation == 0:
        return 2  # the smallest number that shows a scatter at all
    seeds = np.arange(2, MOST + 1)
    limit, shift = t.isf(ALPHA / 2, seeds - 1), points / deviation * np.sqrt(seeds)
    power = nct.sf(limit, seeds - 1, shift) + nct.cdf(-limit, seeds - 1, shift)
    enough = ~(power < POWER)  # NaN: so far above POWER that scipy's series overflows
    return int(seeds[enough.argmax()]) if enough.any() else MOST + 1


def text(statistics: Statistics, points: float) -> str:
    """Return the sample sizes as a table of at most 100 columns under one sentence."""
    name = brief(statistics.reference, statistics.table.methods)
    header = ("column", "methods", "seed deviation", "test-set error", "seeds needed")
    sizes = sample_sizes(statistics, points)
    rows = [
        (
            f"{p.column.name} {p.column.share}{_unit(p.column)}",
            str(p.methods),
            "" if p.seed_deviation is None else f"{p.seed_deviation:.1f}",
            "unknown" if p.test_error is None else f"{p.test_error:.1f}",
            _needed(p),
        )
        for p in sizes
    ]
    body = tabulate(rows, header, disable_numparse=True, colalign=("left", *["right"] * 4))
    head = (
        f"Seeds needed to see {points:g} points against {name} (paired t-test at {ALPHA:g}, power "
        f"{POWER:g},\none comparison, not corrected), from the scatter of differences seen so far:"
    )
    if any(p.seeds is None and p.groups for p in sizes):
        head += (
            "\nnone: no number of seeds is enough, it takes a larger test set, of so many groups "
            "(patients,\nwhere they are known) in all:"
        )
    return f"{head}\n{body}\n"


def _unit(column: Column) -> str:
    metric = metric_of(column.metric)
    return "" if metric.is_share else f" in {metric.unit}"


def _needed(size: SampleSize) -> str:
    if size.seed_deviation is None:
        return "n = 1: unknown"
    if size.seeds is None:
        return f"none: > {size.groups} groups ({size.groups_now} now)"
    return f"over {MOST}" if size.seeds > MOST else str(size.seeds)
