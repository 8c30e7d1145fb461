"""Calibration of a classifier: ECE and Brier score, as trained and after temperature scaling.

Legend: n images, G groups, K classes, R resamples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from benchmark.scores.metric import Metric, Predictions, Weighted, add, divide
from benchmark.scores.metrics.confusion import truth_of

BINS = 15


def confidence_bins(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest probability of each image (n,) and its bin of `BINS` equal widths."""
    confidence = probs.max(1)
    return confidence, np.minimum((confidence * BINS).astype(int), BINS - 1)


def temperature(predictions: Predictions) -> float:
    """Return the temperature in [0.05, 20] with the lowest cross-entropy (Guo et al. 2017).

    It is fitted on the validation split, also for the test split.
    """
    from scipy.optimize import minimize_scalar  # half a second that most commands do not need

    fitted_on = (predictions.validation or predictions).arrays
    probs, labels = fitted_on["probs"], fitted_on["labels"]
    logits, rows = _logits(probs), np.arange(len(labels))

    def loss(log_t: float) -> float:
        scaled = softmax(logits / np.exp(log_t))
        return float(-np.log(np.clip(scaled[rows, labels], 1e-300, 1)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def scaled_probs(predictions: Predictions) -> np.ndarray:
    """Return the probabilities (n, K) after division of their logits by the temperature."""
    return softmax(_logits(predictions.arrays["probs"]) / predictions.once(temperature))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (n, K) of logits (n, K)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def ece(probs: np.ndarray, predictions: Predictions) -> Weighted:
    """Return the expected calibration error of the predicted class (Guo et al. 2017, eq. 3)."""
    confidence, bins = confidence_bins(probs)
    right = probs.argmax(1) == predictions.arrays["labels"]
    gaps = np.zeros((len(probs), BINS))
    gaps[np.arange(len(probs)), bins] = confidence - right
    by_group = predictions.sum_by_group(gaps)
    sizes = predictions.sum_by_group(np.ones(len(probs)))

    def error(weights: np.ndarray) -> np.ndarray:
        drawn = weights @ by_group.astype(weights.dtype)  # (R, BINS), before the absolute value
        return divide(np.abs(drawn).sum(1), weights @ sizes.astype(weights.dtype))

    return error


def brier(probs: np.ndarray, predictions: Predictions) -> Weighted:
    """Return the mean squared distance to the truth: 0 to 2 over classes, 0 to 1 of findings."""
    labels = predictions.arrays["labels"]
    distance = (probs.astype(float) - truth_of(labels, probs.shape[1])) ** 2
    each = distance.sum(1) if labels.ndim == 1 else distance.mean(1)
    by_group = predictions.sum_by_group(each)
    sizes = predictions.sum_by_group(np.ones(len(probs)))

    def score(weights: np.ndarray) -> np.ndarray:
        sums = (by_group.astype(weights.dtype), sizes.astype(weights.dtype))
        return divide(weights @ sums[0], weights @ sums[1])

    return score


def _logits(probs: np.ndarray) -> np.ndarray:
    """Return logits (up to a constant per image) that give these probabilities."""
    return np.log(np.clip(probs.astype(np.float64), 1e-12, 1))


def _brier_of_shares(counts: np.ndarray) -> float:
    """Return the score of who gives every image the shares of the classes: their Gini impurity."""
    return float(1 - ((counts / counts.sum()) ** 2).sum())


Measure = Callable[[np.ndarray, Predictions], Weighted]


def _as_trained(measure: Measure, predictions: Predictions) -> Weighted:
    return measure(predictions.arrays["probs"], predictions)


def _scaled(measure: Measure, predictions: Predictions) -> Weighted:
    return measure(predictions.once(scaled_probs), predictions)


def _temperature(predictions: Predictions) -> Weighted:
    value = predictions.once(temperature)
    return lambda weights: np.full(len(weights), value)


NEEDS = ("probs", "labels")
_BRIER = (
    "The mean squared distance of the probabilities to the truth (Brier 1950): 0 to 2 as a sum "
    "over classes, 0 to 1 as a mean over findings"
)
_ECE = "The expected calibration error of the predicted class, 15 bins (Guo et al. 2017, eq. 3)"
_SCALED = ", after a temperature that is fitted on validation."

add(
    Metric(
        name="ece",
        display="ECE",
        definition=f"{_ECE}.",
        tasks=("classification",),
        needs=NEEDS,
        form=functools.partial(_as_trained, ece),
        higher_is_better=False,
    )
)
add(
    Metric(
        name="brier",
        display="Brier",
        definition=f"{_BRIER}.",
        tasks=("classification", "multilabel"),
        needs=NEEDS,
        form=functools.partial(_as_trained, brier),
        higher_is_better=False,
        chance=_brier_of_shares,
    )
)
for name, display, definition, measure in (
    ("ece_scaled", "ECE scaled", _ECE, ece),
    ("brier_scaled", "Brier scaled", _BRIER, brier),
):
    add(
        Metric(
            name=name,
            display=display,
            definition=definition + _SCALED,
            tasks=("classification",),
            needs=NEEDS,
            validation_needs=NEEDS,
            form=functools.partial(_scaled, measure),
            higher_is_better=False,
        )
    )
add(
    Metric(
        name="temperature",
        display="temperature",
        definition="The temperature with the lowest cross-entropy on validation; above 1 the "
        "model is too sure of itself.",
        tasks=("classification",),
        needs=NEEDS,
        validation_needs=NEEDS,
        form=_temperature,
        higher_is_better=None,
        unit="",
        decimals=2,
    )
)
