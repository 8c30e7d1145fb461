"""Paired resampling of patients and seeds: one set of draws that every method shares.

A score is a mean over S seeds of a metric over G test groups. Both are samples. Patients: R times,
G groups are drawn with replacement, the same ones for all methods, fractions and seeds of a test
set (paired bootstrap, Efron and Tibshirani 1993). Seeds: there are too few to draw from (the
bootstrap of 3 values is far too narrow), so their mean gets an error from Student's t with S - 1
degrees of freedom and the seen deviations, which are paired by the seed. Both errors add up.

Legend: R resamples, S seeds, G test groups.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from results.frame.predictions import Tested

RESAMPLES = 10_000
BATCHES = 50  # more seeds than that are taken as so many batches of seeds
Unit = tuple[int, int]  # (split seed, training seed)
Block = tuple[str, str]  # (data set, share of the labels)


def generator(*names: object) -> np.random.Generator:
    """Return a random generator that depends on `names` and nothing else."""
    digest = hashlib.sha256(repr(names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@lru_cache(maxsize=2)
def weights(groups: tuple[str, ...], resamples: int) -> np.ndarray:
    """Return how often each group is drawn in each resample, (R, G) float32."""
    size = len(groups)
    drawn = generator("patients", groups).integers(size, size=(resamples, size))
    flat = (drawn + size * np.arange(resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores of one method in one block, in table units: by seed, also over resampled patients.

    `resampled` is empty where no predictions are stored, or none that make up the metric;
    `groups` is the number of test groups in them.
    """

    block: Block
    scores: dict[Unit, float]
    resampled: dict[Unit, np.ndarray] = field(default_factory=dict, repr=False)
    groups: int = 0

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(list(self.scores.values())))


def resample(tested: Tested, scale: float = 100.0, resamples: int = RESAMPLES) -> np.ndarray:
    """Return the metric times `scale` of each resample of the test groups, (R,)."""
    return scale * tested.metric(weights(tested.groups, resamples)).astype(np.float32)


@lru_cache(maxsize=256)
def seed_errors(block: Block, units: tuple[Unit, ...], resamples: int) -> np.ndarray:
    """Return coefficients (R, S) that turn deviations of seeds from their mean into errors of it.

    For deviations e of S seeds with standard deviation s, `coefficients @ e` is s / sqrt(S) times
    Student's t with S - 1 degrees of freedom, jointly for all methods (a matrix t distribution).
    """
    normal = np.stack(
        [generator("seed", block, unit).standard_normal(resamples) for unit in units], 1
    )
    free = len(units) - 1
    spread = generator("spread", block, free).chisquare(free, resamples)
    errors: np.ndarray = normal / np.sqrt(len(units) * spread)[:, None]
    return errors.astype(np.float32)


@lru_cache(maxsize=4096)
def replicates(sample: Sample, units: tuple[Unit, ...], resamples: int = RESAMPLES) -> np.ndarray:
    """Return the mean over `units` with the errors of patients and of seeds, (R,).

    With one unit the error of the seeds is unknown: only that of the patients is in.
    """
    scores = np.array([sample.scores[unit] for unit in units])
    if all(unit in sample.resampled for unit in units):
        means = np.mean([sample.resampled[unit] for unit in units], axis=0)
    else:
        means = np.full(resamples, scores.mean(), np.float32)
    if len(units) > BATCHES:
        scores = np.array([batch.mean() for batch in np.array_split(scores, BATCHES)])
        units = tuple((-1, i) for i in range(BATCHES))
    if len(units) > 1:
        errors = seed_errors(sample.block, units, resamples)
        means = means + errors @ (scores - scores.mean()).astype(np.float32)
    return means


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of replicates; undefined ones (NaN) are left out."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def probability(values: np.ndarray) -> float:
    """Return the share of replicates above 0, those at 0 counted half."""
    values = values[~np.isnan(values)]
    return float((values > 0).mean() + (values == 0).mean() / 2)


def p_value(values: np.ndarray) -> float:
    """Return the two-sided bootstrap p-value of replicates of a difference against 0.

    (1 + count) / (R + 1), so that it is never 0 (Davison and Hinkley 1997, eq. 4.11).
    """
    values = values[~np.isnan(values)]
    tail = min((values <= 0).sum(), (values >= 0).sum())
    return float(min(1.0, 2 * (1 + tail) / (len(values) + 1)))
