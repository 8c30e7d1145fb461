"""The area under the ROC curve.

Legend: n images, K classes, R resamples.
"""

from __future__ import annotations

import numpy as np

from benchmark.scores.metric import Metric, PerClass, Predictions, Weighted, add, divide
from benchmark.scores.metrics.confusion import truth_of


def every_class(predictions: Predictions) -> range:
    """Return the numbers of all K classes."""
    return range(predictions.arrays["probs"].shape[1])


def auc(predictions: Predictions, k: int) -> Weighted:
    """Return the area of class k against the rest, ties counted half.

    The Mann-Whitney statistic: the weight of the pairs in the right order over that of all pairs.
    NaN where a weighting leaves the class in no image, or in every image.
    """
    scores, labels = predictions.arrays["probs"][:, k], predictions.arrays["labels"]
    truth = truth_of(labels, predictions.arrays["probs"].shape[1])[:, k]
    _, places = np.unique(scores, return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(places[order]) > 0])  # images of equal score
    owners, positive = predictions.rows[order], truth[order]

    def area(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, owners]
        with_it = np.add.reduceat(drawn * positive, starts, axis=1)
        without = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = without.cumsum(1) - without / 2
        return divide((with_it * below).sum(1), with_it.sum(1) * without.sum(1))

    return area


add(
    Metric(
        name="auc",
        display="AUC",
        definition="The area under the ROC curve of each class or finding against the rest, mean "
        "over those that are both present and absent in some image.",
        tasks=("classification", "multilabel"),
        needs=("probs", "labels"),
        form=PerClass(auc, every_class),
        higher_is_better=True,
        quick=True,
    )
)
