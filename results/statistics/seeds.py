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
PASSES = 20  # with a seed missing here and there the residuals are then right to 1e-9
FEWEST_METHODS = 4  # variances from which their spread can be read at all


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
    residuals = _without_shared(several, num_passes=PASSES if paired and len(several) > 1 else 0)
    own = {method: Noise(float(r @ r), len(r) - 1.0) for method, r in residuals.items()}
    count = len(own)
    # what taking out the shared part took away
    share = count / (count - 1) if count > 1 and paired else 1.0
    own = {m: Noise(share * squares / freedom, freedom) for m, (squares, freedom) in own.items()}
    if count < FEWEST_METHODS or any(n.variance <= 0 for n in own.values()):
        return own
    return moderated(own)


def moderated(own: Mapping[str, Noise]) -> dict[str, Noise]:
    """Return variances drawn towards what is usual among them (Smyth 2004, section 6.2).

    The logarithms of the variances scatter for two reasons: each is an estimate (a chi-square,
    whose part is known), and the methods differ. The second, at least `LEAST_SPREAD`, gives the
    degrees of freedom that the usual variance counts for.
    """
    variance, freedom = (np.array(values) for values in zip(*own.values(), strict=True))
    half = freedom / 2
    logs = np.log(variance) - special.digamma(half) + np.log(half)
    spread = max(logs.var(ddof=1) - special.polygamma(1, half).mean(), LEAST_SPREAD)
    prior = 2 * _inverse_trigamma(spread)
    usual = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    shrunk = (prior * usual + freedom * variance) / (prior + freedom)
    return {
        method: Noise(float(v), float(prior + f))
        for method, v, f in zip(own, shrunk, freedom, strict=True)
    }


def _without_shared(scores: Scores, num_passes: int = PASSES) -> dict[str, np.ndarray]:
    """Return each method's scores less its mean and less what each seed does to all methods.

    Least squares of score = method + seed; one pass is exact where all methods have all seeds, and
    the passes converge quickly where some are missing. Without a pass nothing is shared, as with
    one method alone.
    """
    units = sorted({unit for found in scores.values() for unit in found})
    table = np.array([[found.get(unit, np.nan) for unit in units] for found in scores.values()])
    if not len(table):
        return {}
    table -= np.nanmean(table, 1, keepdims=True)
    for _ in range(num_passes):
        table -= np.nanmean(table, 0, keepdims=True)
        table -= np.nanmean(table, 1, keepdims=True)
    return {method: row[~np.isnan(row)] for method, row in zip(scores, table, strict=True)}


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
