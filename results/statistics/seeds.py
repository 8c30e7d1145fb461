"""How much seeds alone move a score, from the few that there are.

Three seeds say little of their own scatter: a variance with two degrees of freedom is off by a
factor of four as often as not, and a family of 200 tests then separates nothing or the wrong
methods. What all methods of a column share is therefore used twice. First, what a seed does to all
of them alike (an easy split, a lucky head) is taken out, as every comparison is paired by the
seed. Second, each method's variance is drawn towards that of its column, by as much as the
variances of the methods agree with each other: the moderated variance of Smyth (2004), Statistical
Applications in Genetics and Molecular Biology 3(1), article 3.

Legend: M methods of a column, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import special

# Variances of methods are never taken to agree better than this (variance of their logarithm, so a
# factor of 1.7 for one standard deviation). Eight methods cannot show that they do, and where half
# of them scatter three times as far a full pooling excludes equal methods in 9 % of all worlds.
LEAST_SPREAD = 0.3
FEWEST_METHODS = 4  # variances from which their spread can be read at all
NONE = 1e-9  # of the largest variance of a column: below it is what rounding leaves of equal scores


class Noise(NamedTuple):
    """Variance of one seed's score, in squared table units, and its degrees of freedom."""

    variance: float
    freedom: float


Scores = Mapping[str, Mapping[tuple[int, int], float]]  # of one column: by method, by seed


def noise(scores: Scores, *, paired: bool = True) -> dict[str, Noise]:
    """Return the noise of every method of a column that has two seeds or more.

    `scores` are those of one column. `paired` leaves out what a seed does to all methods alike: for
    two methods the sum of their variances is then the variance of their paired difference, so that
    a comparison is Student's paired t-test. Else it is the noise of a score by itself.
    """
    several = {method: found for method, found in scores.items() if len(found) > 1}
    fits = _without_shared(several) if paired and len(several) > 1 else {}
    own = {}
    for method, found in several.items():
        values = np.array(list(found.values()))
        own[method] = Noise(float(values.var(ddof=1)), len(values) - 1.0)
        # seeds that hardly any other method has tell nothing of what they do to all of them alike
        if method in fits and fits[method].freedom > 1 - NONE:
            own[method] = fits[method]
    some = max((n.variance for n in own.values()), default=0.0) * NONE
    if sum(n.variance > some for n in own.values()) < FEWEST_METHODS:
        return own
    return moderated(own)


def moderated(own: Mapping[str, Noise]) -> dict[str, Noise]:
    """Return variances drawn towards what is usual among them (Smyth 2004, section 6.2).

    The logarithms of the variances scatter for two reasons: each is an estimate (a chi-square,
    whose part is known), and the methods differ. The second, at least `LEAST_SPREAD`, gives the
    degrees of freedom that the usual variance counts for. Variances of 0 say nothing of either,
    but are drawn towards the others: equal scores of a few seeds may be luck.
    """
    variance, freedom = (np.array(values) for values in zip(*own.values(), strict=True))
    some = variance > NONE * variance.max()
    half = freedom[some] / 2
    logs = np.log(variance[some]) - special.digamma(half) + np.log(half)
    spread = max(logs.var(ddof=1) - special.polygamma(1, half).mean(), LEAST_SPREAD)
    prior = 2 * _inverse_trigamma(spread)
    usual = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    shrunk = (prior * usual + freedom * variance) / (prior + freedom)
    return {
        method: Noise(float(v), float(prior + f))
        for method, v, f in zip(own, shrunk, freedom, strict=True)
    }


def _without_shared(scores: Scores) -> dict[str, Noise]:
    """Return each method's noise about the least squares of score = method + seed.

    The squares of its residuals are divided by what the fit leaves of them, so that a method has no
    less noise because it shares few seeds with others. A method that shares none has 0 degrees of
    freedom.
    """
    units = sorted({unit for found in scores.values() for unit in found})
    table = np.array([[found.get(unit, np.nan) for unit in units] for found in scores.values()])
    known, count = ~np.isnan(table), len(table)
    rows, columns = np.nonzero(known)
    if known.all():
        residuals = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        left = np.full(count, (len(units) - 1) * (1 - 1 / count))
    else:
        design = np.zeros((len(rows), count + len(units)))
        places = np.arange(len(rows))
        design[places, rows] = design[places, count + columns] = 1
        basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
        basis = basis[:, sizes > 1e-9]
        values = table[known] - np.nanmean(table)
        residuals = np.zeros_like(table)
        residuals[known] = values - basis @ (basis.T @ values)
        left = np.bincount(rows, 1 - (basis**2).sum(1), count)
    squares = (np.where(known, residuals, 0) ** 2).sum(1)
    found = {}
    for i, method in enumerate(scores):
        freedom = min(left[i] * count / (count - 1), len(scores[method]) - 1.0)
        variance = squares[i] / left[i] if freedom > NONE else 0.0
        found[method] = Noise(float(variance), float(freedom))
    return found


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = `value`, by Newton's steps on 1 / trigamma, which is convex."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
