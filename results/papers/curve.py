"""Labels saved at equal score, read off label-efficiency curves.

The curve is the score against the logarithm of the number of labels, straight between the
fractions that were run. Legend: F fractions in rising order, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.statistics.comparison import Interval, sign
from results.statistics.family import family
from results.statistics.resample import interval
from results.statistics.samples import Samples
from results.tables import Column

NEVER = -100.0  # percent: stands below every share that can be saved


@dataclass(frozen=True)
class Saved:
    """Percent of the labels that are saved; `NEVER` where the score is not reached.

    `most` is what could be saved at most: below the smallest fraction nothing was tried. There is
    no `interval` with one seed. `target` is the reference's score.
    """

    value: float
    interval: Interval | None
    most: float
    target: float


def share_needed(labels: np.ndarray, scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the number of labels at which curves first reach their target, NaN for never.

    `labels` (F,), `scores` (R, F), `target` (R,); the result is (R,). Where the first point is at
    the target already, it is `labels[0]`: fewer were not tried.
    """
    x = np.log(labels)
    needed = np.where(scores[:, 0] >= target, x[0], np.nan)
    for i in range(1, len(x)):
        before, after = scores[:, i - 1], scores[:, i]
        crosses = np.isnan(needed) & (before < target) & (after >= target)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = (target - before) / (after - before)
        needed = np.where(crosses, x[i - 1] + part * (x[i] - x[i - 1]), needed)
    return np.exp(needed)


def labels_saved(
    samples: Samples, method: str, reference: str, columns: Sequence[Column], whole: Column
) -> Saved:
    """Return what `method` on `columns` saves against `reference` on all labels of `whole`.

    The interval is that of joint resamples of patients (the same for both) and of seeds.
    """
    columns = sorted(columns, key=lambda c: c.labels)
    labels = np.array([c.labels for c in columns], float)
    here, other = [samples[method, c] for c in columns], samples[reference, whole]
    better = sign(whole)
    means, target = np.array([[better * s.mean for s in here]]), np.array([better * other.mean])
    value = _percent(share_needed(labels, means, target), whole.labels)[0]
    most = 100 * (1 - labels[0] / whole.labels)
    if any(s.noise is None for s in (*here, other)):
        return Saved(float(value), None, most, other.mean)
    curve = [family(samples, [method], [c]).draws for c in columns]
    goal = family(samples, [reference], [whole]).draws[:, 0]
    drawn = share_needed(labels, np.hstack(curve), goal)
    return Saved(float(value), interval(_percent(drawn, whole.labels)), most, other.mean)


def _percent(needed: np.ndarray, labels: int) -> np.ndarray:
    saved: np.ndarray = 100 * (1 - needed / labels)
    return np.where(np.isnan(saved), NEVER, saved)


def words(saved: Saved) -> str:
    """Return the result in words, such as "62 % [40, >= 90]" or "score not reached"."""
    text = _bound(saved.value, saved.most)
    if saved.interval is None:
        return f"{text} (n = 1: no interval)"
    low, high = (_bound(v, saved.most).removesuffix(" %") for v in saved.interval)
    return f"{text} [{low}, {high}]"


def _bound(value: float, most: float) -> str:
    if value < 0:
        return "not reached"
    return f">= {most:.0f} %" if value >= most - 1e-9 else f"{value:.0f} %"
