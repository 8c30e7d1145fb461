"""The mean loss: what decides between steps of equal score, and alone where none is defined."""

from __future__ import annotations

import numpy as np

from benchmark.scores.metric import TASKS, Metric, Predictions, Weighted, add, divide


def _loss(predictions: Predictions) -> Weighted:
    by_group = predictions.sum_by_group(predictions.arrays["loss"])
    sizes = predictions.sum_by_group(np.ones(len(predictions.rows)))

    def mean(weights: np.ndarray) -> np.ndarray:
        sums = (by_group.astype(weights.dtype), sizes.astype(weights.dtype))
        return divide(weights @ sums[0], weights @ sums[1])

    return mean


add(
    Metric(
        name="loss",
        display="loss",
        definition="The mean over images of the loss that training minimises, without the "
        "weights of classes.",
        tasks=TASKS,
        needs=("loss",),
        form=_loss,
        higher_is_better=False,
        unit="nats",
        decimals=3,
        quick=True,
    )
)
