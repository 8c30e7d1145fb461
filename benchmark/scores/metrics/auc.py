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
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    with_it = np.flatnonzero(truth[order])
    # where images of the same score begin and end: they count half
    first, last = (np.searchsorted(ranked, ranked[with_it], side) for side in ("left", "right"))
    owners = predictions.rows[order]

    def area(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, owners]
        positive = drawn[:, with_it]
        drawn[:, with_it] = 0
        # weight of the images without the class up to each place, 0 before the first
        without = np.zeros((len(drawn), len(owners) + 1), drawn.dtype)
        np.cumsum(drawn, axis=1, out=without[:, 1:])
        below = (without[:, first] + without[:, last]) / 2
        return divide((positive * below).sum(1), positive.sum(1) * without[:, -1])

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
        chance=0.5,
        quick=True,
    )
)
