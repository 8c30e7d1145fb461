"""Paired resampling of test patients: one set of draws that every method shares.

A score is a mean over S seeds of a metric over G test groups. Both are samples. Patients: R times,
G groups are drawn with replacement, the same ones for all methods, fractions and seeds of a test
set (paired bootstrap, Efron and Tibshirani 1993). Seeds: there are too few to draw from (the
bootstrap of 3 values is far too narrow); `seeds.noise` estimates their variance instead, and the
two errors are added where they are needed.

Legend: R resamples, S seeds, G test groups.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from results.frame.predictions import Tested
from results.statistics.seeds import Noise

# A variance and a joint 95 % quantile are read off, no far tail: 1,000 give the deviation to 2 %.
RESAMPLES = 1_000
BLOCK = 50  # resamples at once
Unit = tuple[int, int]  # (split seed, training seed)
Block = tuple[str, str]  # (data set, share of the labels)


def generator(*names: object) -> np.random.Generator:
    """Return a random generator that depends on `names` and nothing else."""
    digest = hashlib.sha256(repr(names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@lru_cache(maxsize=2)
def weights(groups: tuple[str, ...], resamples: int) -> np.ndarray:
    """Return how often each group is drawn in each resample, (R, G) uint8.

    Bytes, because the matrix is kept for all cells of a test set: 33 MB for PCam's 32,768 images. A
    count above 255 takes more than 255 groups, of which one is drawn 256 times: never.
    """
    size, random = len(groups), generator("patients", groups)
    counts = np.empty((resamples, size), np.uint8)
    for start in range(0, resamples, BLOCK):
        block = counts[start : start + BLOCK]
        drawn = random.integers(size, size=block.shape) + size * np.arange(len(block))[:, None]
        block[:] = np.bincount(drawn.ravel(), minlength=block.size).reshape(block.shape)
    return counts


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores of one method in one block, in table units: by seed, also over resampled patients.

    `resampled` is empty where no predictions are stored, or none that make up the metric;
    `groups` is the number of test groups in them. `noise` is what `seeds.noise` says of the method
    in its column, None with one seed.
    """

    block: Block
    scores: dict[Unit, float]
    resampled: dict[Unit, np.ndarray] = field(default_factory=dict, repr=False)
    groups: int = 0
    noise: Noise | None = None

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(list(self.scores.values())))


def resample(tested: Tested, scale: float = 100.0, resamples: int = RESAMPLES) -> np.ndarray:
    """Return the metric times `scale` of each resample of the test groups, (R,) float32.

    In blocks: what a metric makes of (R, n) weights at once would take gigabytes for a large set.
    """
    drawn = weights(tested.groups, resamples)
    blocks = [drawn[start : start + BLOCK] for start in range(0, resamples, BLOCK)]
    values = [tested.metric(block.astype(np.float32)) for block in blocks]
    return (scale * np.concatenate(values)).astype(np.float32)


def patients(sample: Sample, units: tuple[Unit, ...]) -> np.ndarray | None:
    """Return the mean over `units` of resampled scores, (R,); None where a unit has none."""
    if not units or any(unit not in sample.resampled for unit in units):
        return None
    found: np.ndarray = np.mean([sample.resampled[unit] for unit in units], axis=0)
    return found


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of replicates; undefined ones (NaN) are left out."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
