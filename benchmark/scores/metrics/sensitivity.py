"""Sensitivity at a fixed specificity: the operating points that screening is planned with.

Legend: n images, K classes, R resamples.
"""

from __future__ import annotations

import functools

import numpy as np

from benchmark.scores.metric import Metric, PerClass, Predictions, Weighted, add, divide
from benchmark.scores.metrics.confusion import truth_of

SPECIFICITIES = (0.90, 0.95)


def findings(predictions: Predictions) -> range:
    """Return the class numbers; of two classes only the second, which is the finding."""
    labels, num_classes = predictions.arrays["labels"], predictions.arrays["probs"].shape[1]
    return range(1, 2) if labels.ndim == 1 and num_classes == 2 else range(num_classes)


def sensitivity_at(specificity: float, predictions: Predictions, k: int) -> Weighted:
    """Return the highest sensitivity for class k among thresholds of at least this specificity.

    NaN where a weighting leaves the class in no image, or in every image.
    """
    scores, labels = predictions.arrays["probs"][:, k], predictions.arrays["labels"]
    truth = truth_of(labels, predictions.arrays["probs"].shape[1])[:, k]
    _, places = np.unique(-scores, return_inverse=True)  # from the highest score down
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(places[order]) > 0])
    owners, positive = predictions.rows[order], truth[order]

    def sensitivity(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, owners]
        hits = np.add.reduceat(drawn * positive, starts, axis=1).cumsum(1)
        alarms = np.add.reduceat(drawn * ~positive, starts, axis=1).cumsum(1)
        well = alarms[:, -1:].astype(float)
        # weights are counts: the slack is for the rounding of (1 - .9), not of the sums
        allowed = alarms <= (1 - specificity) * well + 1e-9 * well
        most = np.where(allowed, hits, 0).max(1)  # a threshold above all scores has 0
        return np.where(well[:, 0] > 0, divide(most, hits[:, -1]), np.nan)

    return sensitivity


for share in SPECIFICITIES:
    add(
        Metric(
            name=f"sensitivity_at_{100 * share:.0f}",
            display=f"sensitivity at {100 * share:.0f}",
            definition=f"The highest sensitivity at a specificity of at least {share:.2f}, mean "
            "over classes against the rest; of two classes that of the second.",
            tasks=("classification", "multilabel"),
            needs=("probs", "labels"),
            form=PerClass(functools.partial(sensitivity_at, share), findings),
            higher_is_better=True,
            # scores by lot: as many of the sick as of the healthy are above a threshold
            chance=1 - share,
        )
    )
