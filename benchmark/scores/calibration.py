"""Calibration and operating points of a classifier, from probabilities alone.

Legend: n images, K classes.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk

BINS = 15
SPECIFICITIES = (0.90, 0.95)


def ece(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error of the predicted class (Guo et al. 2017, eq. 3).

    15 bins of equal width over the highest probability; `probs` (n, K), `labels` (n,).
    """
    confidence, right = probs.max(1), probs.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        (bins == b).sum() * abs(confidence[bins == b].mean() - right[bins == b].mean())
        for b in np.unique(bins)
    ]
    return float(np.sum(gaps) / len(labels))


def brier(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared distance to the one-hot truth, summed over classes (0 to 2)."""
    truth = np.eye(probs.shape[1])[labels]
    return float(((probs - truth) ** 2).sum(1).mean())


def temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] with the lowest cross-entropy (Guo et al. 2017)."""
    logits = np.log(np.clip(probs.astype(np.float64), 1e-12, 1))

    def loss(log_t: float) -> float:
        scaled = softmax(logits / np.exp(log_t))
        return float(-np.log(np.clip(scaled[np.arange(len(labels)), labels], 1e-300, 1)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def scaled(probs: np.ndarray, value: float) -> np.ndarray:
    """Return `probs` (n, K) after division of their logits by the temperature `value`."""
    return softmax(np.log(np.clip(probs.astype(np.float64), 1e-12, 1)) / value)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (n, K) of logits (n, K)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sensitivity_at(score: np.ndarray, positive: np.ndarray, specificity: float) -> float | None:
    """Return the highest sensitivity among thresholds with at least this specificity.

    `score` (n,), `positive` (n,) bool. None where one of both kinds is absent.
    """
    if positive.all() or not positive.any():
        return None
    false_positive, true_positive, _ = sk.roc_curve(positive, score, drop_intermediate=False)
    return float(true_positive[1 - false_positive >= specificity - 1e-12].max())
