"""What many comparisons at once allow to say: which methods may be best, which places are open.

To ask of eight equal methods which one differs from *the best* is to ask about the largest of many
differences: compared one by one with the best of the table, an equal method is excluded in 17 % of
all worlds, of fifteen in 64 %. Here the error of the largest difference is resampled (max-T,
Westfall and Young 1993), so that all statements of a family hold together in 95 %.

Legend: M methods, R resamples, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.statistics.comparison import sign
from results.statistics.resample import RESAMPLES, generator, patients
from results.statistics.samples import Samples
from results.tables import Column

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Family:
    """Mean scores of methods over columns with their joint errors; more is always better.

    `means` (M,); `errors` (R, M) are draws of the errors of these means, of patients (paired over
    methods) and of seeds; `scales` (M, M) are the standard errors of their differences.
    """

    methods: tuple[str, ...]
    means: np.ndarray
    errors: np.ndarray
    scales: np.ndarray

    @property
    def draws(self) -> np.ndarray:
        """Return means with their errors, (R, M)."""
        return self.means + self.errors

    def differences(self, rows: Sequence[int]) -> np.ndarray:
        """Return row minus column of the means of these methods in standard errors, (m, m)."""
        seen = np.subtract.outer(self.means[rows], self.means[rows])
        return _divided(seen, self.scales[np.ix_(rows, rows)])

    def limit(self, rows: Sequence[int]) -> float:
        """Return what the largest difference among these methods stays below in 95 % by chance."""
        scales, errors = self.scales[np.ix_(rows, rows)], self.errors[:, rows]
        drawn = _divided(errors[:, :, None] - errors[:, None, :], scales)
        return float(np.quantile(drawn.max((1, 2)), LEVEL))


def _divided(differences: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return differences over their standard errors; without any error a difference is certain."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = np.where(
            np.abs(differences) < 1e-9, 0.0, differences / np.maximum(scales, 1e-9)
        )
    return found


def family(samples: Samples, methods: Sequence[str], columns: Sequence[Column]) -> Family:
    """Return the methods' mean scores over `columns`; each has two seeds or more in each."""
    means, seeds = np.zeros(len(methods)), np.zeros(len(methods))
    tested, errors = np.zeros((2, RESAMPLES, len(methods)))
    for column in columns:
        for place, method in enumerate(methods):
            sample = samples[method, column]
            assert sample.noise is not None, "a method of one seed is in no family"
            means[place] += sign(column) * sample.mean
            drawn = patients(sample, tuple(sample.scores))
            if drawn is not None:
                # a resample without a class leaves the metric undefined: it counts as no error
                tested[:, place] += sign(column) * np.nan_to_num(drawn - np.nanmean(drawn))
            variance, freedom = sample.noise.variance / len(sample.scores), sample.noise.freedom
            seeds[place] += variance
            random = generator("seeds", sample.block, method)
            errors[:, place] += random.standard_t(freedom, RESAMPLES) * np.sqrt(variance)
    # patients by their covariance over methods, which are tested on the same ones; seeds add up
    # independently, because what they share was taken out in `seeds.noise`
    spread = np.cov(tested, rowvar=False).reshape(len(methods), len(methods))
    own = np.diag(spread)
    variances = np.add.outer(own, own) - 2 * spread + np.add.outer(seeds, seeds)
    scales = np.sqrt(np.maximum(variances, 0)) / len(columns)
    return Family(tuple(methods), means / len(columns), (tested + errors) / len(columns), scales)


def best_or_tied(found: Family) -> tuple[str, ...]:
    """Return the methods that may be the best, best first: a model confidence set.

    While the largest difference among those left is more than chance gives, the method furthest
    behind another is taken out (Hansen, Lunde and Nason 2011, Econometrica 79:453-497). All methods
    that are truly best stay in it, together, in 95 % of all worlds.
    """
    left = [int(i) for i in np.argsort(-found.means, kind="stable")]
    while len(left) > 1:
        differences = found.differences(left)
        if differences.max() <= found.limit(left):
            break
        # after one is out the limit is of fewer methods, and so lower: the procedure is stepwise
        left.pop(int(np.argmin(differences.min(1))))
    return tuple(found.methods[i] for i in left)


def places(found: Family, others: int = 0) -> dict[str, tuple[int, int]]:
    """Return the places that each method may hold by its true mean score, 1 is best.

    A method stands behind all that are better by more than chance gives, and before all that are
    worse; together these ranges hold all true places in 95 % of all worlds (Mogstad, Romano, Shaikh
    and Wilhelm 2024, Review of Economic Studies 91:476-518). `others` are methods of which nothing
    is known: they may stand anywhere.
    """
    rows = range(len(found.methods))
    # `ahead[i, j]`: i is better than j beyond what the largest of all differences does by chance
    ahead = found.differences(rows) > found.limit(rows) if len(rows) > 1 else np.zeros((1, 1), bool)
    behind, before = ahead.sum(0), ahead.sum(1)
    return {
        method: (1 + int(behind[i]), len(rows) - int(before[i]) + others)
        for i, method in enumerate(found.methods)
    }
