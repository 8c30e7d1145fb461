"""Ranks over several data sets and the tests on them (Demsar 2006, JMLR 7:1-30).

Legend: M methods, N blocks (a block is a data set, by its mean over label fractions).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

MOST_EXACT = 500  # blocks; above that the normal approximation is right to three digits


@dataclass(frozen=True)
class Ranking:
    """Average ranks (1 is best), Friedman's p-value, Nemenyi's critical difference.

    `friedman_p` and `critical_difference` are None where nothing is tested, as for fewer than 3
    methods or 2 blocks.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    num_blocks: int
    friedman_p: float | None = None
    critical_difference: float | None = None

    def together(self) -> list[tuple[str, ...]]:
        """Return the largest sets of methods that the critical difference does not separate."""
        if self.critical_difference is None:
            return []
        order = sorted(range(len(self.methods)), key=lambda i: self.ranks[i])
        spans: list[tuple[int, int]] = []
        for first in range(len(order)):
            limit = self.ranks[order[first]] + self.critical_difference
            last = max(j for j in range(len(order)) if self.ranks[order[j]] <= limit)
            if last > first and (not spans or last > spans[-1][1]):
                spans.append((first, last))
        return [tuple(self.methods[i] for i in order[a : b + 1]) for a, b in spans]

    def separated(self) -> int:
        """Return how many pairs of methods are further apart than the critical difference."""
        if self.critical_difference is None:
            return 0
        pairs = itertools.combinations(self.ranks, 2)
        return sum(abs(a - b) > self.critical_difference for a, b in pairs)


def average_ranks(scores: np.ndarray) -> tuple[float, ...]:
    """Return the mean rank of each method from `scores` (N, M); higher is better, ties share."""
    return tuple(stats.rankdata(-scores, axis=1).mean(0).tolist())


def rank(methods: Sequence[str], scores: np.ndarray, alpha: float = 0.05) -> Ranking:
    """Return the ranking of `methods` from `scores` (N, M), tested by Friedman and Nemenyi."""
    num_blocks, num_methods = scores.shape
    # of two methods Friedman is a sign test, and Nemenyi has no pair to correct for
    p, difference = None, None
    if num_methods > 2 and num_blocks > 1:
        p = _friedman(scores)
        difference = critical_difference(num_methods, num_blocks, alpha)
    return Ranking(tuple(methods), average_ranks(scores), num_blocks, p, difference)


def _friedman(scores: np.ndarray) -> float:
    """Return Friedman's p-value; 1 where every block is one tie, which leaves 0 / 0."""
    if (scores == scores[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*scores.T).pvalue)


def critical_difference(num_methods: int, num_blocks: int, alpha: float = 0.05) -> float:
    """Return Nemenyi's q sqrt(M (M + 1) / 6 N); q is the studentized range over sqrt 2."""
    # infinite degrees of freedom: ranks have a known variance (Demsar 2006, table 5)
    q = stats.studentized_range.ppf(1 - alpha, num_methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(num_methods * (num_methods + 1) / (6 * num_blocks)))


def wilcoxon(differences: np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test; 1 where all differences are 0.

    Zeros are dropped. Exact with ties too, up to `MOST_EXACT` blocks: the distribution of the rank
    sum under all 2^N signs is built up rank by rank, over doubled mid-ranks, which are whole
    (scipy turns to the normal approximation at the first tie or zero, and there reports .0012 for
    an exact .00042).
    """
    differences = np.asarray(differences)[np.asarray(differences) != 0]
    if not len(differences):
        return 1.0
    if len(differences) > MOST_EXACT:
        return float(stats.wilcoxon(differences, method="approx").pvalue)
    doubled = np.round(2 * stats.rankdata(np.abs(differences))).astype(int)
    law = np.zeros(doubled.sum() + 1)  # law[w]: the probability that the positive ranks sum to w
    law[0] = 1.0
    for rank_of_one in doubled:
        law[rank_of_one:] = (law[rank_of_one:] + law[: len(law) - rank_of_one]) / 2
        law[:rank_of_one] /= 2
    seen = doubled[differences > 0].sum()
    return float(min(1.0, 2 * min(law[: seen + 1].sum(), law[seen:].sum())))


def smallest_p(num_blocks: int) -> float:
    """Return the smallest p-value that Wilcoxon's test can reach with so many blocks."""
    return min(1.0, 2.0 ** (1 - num_blocks))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down corrected p-values (Holm 1979), in the order given."""
    order = np.argsort(p_values)
    # the smallest p is multiplied by the number of tests, the next by one less, and so on
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    # none may be smaller than one before it: a larger p is never more significant
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in corrected]
