"""Dice and Jaccard index of segmentations, by volume.

Legend: n images, V volumes, K classes, (H, W) the mask size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from benchmark.data.base import IGNORE
from benchmark.scores.metric import Metric, PerClass, Predictions, Weighted, add, divide, mean_over

AT_ONCE = 64  # images


def overlap(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Return pixel counts (n, K) "tp", "fp" and "fn": true and false positives, false negatives.

    `predicted` and `truth` are (n, H, W) class maps; pixels whose truth is IGNORE do not count.
    """
    counts = {n: np.zeros((len(truth), num_classes), np.int32) for n in ("tp", "fp", "fn")}
    # some at a time: what is made on the way is several times as large as the maps themselves
    for start in range(0, len(truth), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        counted = truth[rows] != IGNORE
        for k in range(num_classes):
            p, t = (predicted[rows] == k) & counted, (truth[rows] == k) & counted
            for name, pixels in (("tp", p & t), ("fp", p & ~t), ("fn", ~p & t)):
                counts[name][rows, k] = pixels.sum((1, 2))
    return counts


def dice(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Return Dice 2TP / (2TP + FP + FN) of pixel counts of any one shape.

    Empty-mask rule: NaN (left out of means) where truth and prediction are both empty, 0 where
    only one of them is: a missed structure and a false alarm both count.
    """
    return divide(2 * tp, 2 * tp + fp + fn)


def iou(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Return the Jaccard index TP / (TP + FP + FN) with the empty-mask rule of `dice`."""
    return divide(tp, tp + fp + fn)


def foreground(predictions: Predictions) -> range:
    """Return the numbers of the classes other than 0, the background."""
    return range(1, predictions.arrays["tp"].shape[1])


def volumes(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume of each image (n,), and the group of each volume (V,).

    Where no volumes are stored every group is one; where there are no groups either, every image.
    """
    arrays = predictions.arrays
    names = arrays.get("volumes", arrays.get("groups", predictions.rows))
    _, first, members = np.unique(names, return_index=True, return_inverse=True)
    return members, predictions.rows[first]


def _by_volume(ratio: Callable[..., np.ndarray], predictions: Predictions, k: int) -> Weighted:
    """Return the weighted mean over volumes; pixels are added up within one first."""
    members, owners = predictions.once(volumes)
    counts = [np.bincount(members, predictions.arrays[n][:, k]) for n in ("tp", "fp", "fn")]
    return mean_over(ratio(*counts), owners)


for name, display, definition, ratio in (
    ("dice", "Dice", "Dice 2TP / (2TP + FP + FN)", dice),
    ("iou", "IoU", "The Jaccard index TP / (TP + FP + FN)", iou),
):
    add(
        Metric(
            name=name,
            display=display,
            definition=f"{definition} of a volume (an image where there are none), mean over "
            "volumes, then over foreground classes; both masks empty: left out, only one: 0.",
            tasks=("segmentation",),
            needs=("tp", "fp", "fn"),
            form=PerClass(functools.partial(_by_volume, ratio), foreground),
            higher_is_better=True,
            quick=True,
        )
    )
