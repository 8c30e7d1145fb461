"""Per-patient sums of the stored test predictions: what a resampled metric is made of.

Legend: n images, G groups (patients, volumes, lesions; single images where there are none),
K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.frame.rows import PREDICTIONS

Metric = Callable[[np.ndarray], np.ndarray]  # (R, G) weights -> (R,) fractions


@dataclass(frozen=True)
class Tested:
    """The test groups of one cell, in sorted order, and a metric of any weighting of them."""

    groups: tuple[str, ...]
    metric: Metric


def of(cells: Iterable[pd.DataFrame], folders: Sequence[Path]) -> dict[str, Path]:
    """Return the path of the stored predictions of each cell in `cells`, below `folders`."""
    found: dict[str, Path] = {}
    for rows in cells:
        kept = rows[rows["has_predictions"].astype(bool)]
        found |= {
            k: Path(f) / PREDICTIONS for k, f in zip(kept["key"], kept["folder"], strict=True)
        }
    below = tuple(f"{folder}/" for folder in folders)
    return {key: path for key, path in found.items() if f"{path}".startswith(below)}


def read(path: Path, metric: str, classes: Sequence[str]) -> Tested | None:
    """Return the tested groups of a cell; None where `metric` cannot be had from what is stored.

    A resampled classification metric weighs every image by how often its group was drawn. A
    segmentation metric is a mean over volumes, as in the record, weighed by their groups' draws.
    """
    with np.load(path) as stored:
        names, rows = np.unique(stored["test_groups"], return_inverse=True)
        build = _metric(metric, stored, rows, classes)
    return Tested(tuple(map(str, names)), build) if build else None


def _metric(name: str, stored: Any, rows: np.ndarray, classes: Sequence[str]) -> Metric | None:
    if "test_probs" in stored:
        probs, labels = stored["test_probs"].astype(float), stored["test_labels"]
        if name == "auc":
            several = labels.ndim == 2  # findings, any number per image
            truth = labels > 0 if several else labels[:, None] == np.arange(probs.shape[1])
            return lambda weights: auc(probs, truth, weights[:, rows])
        if labels.ndim == 2:
            return None
        if name in CONFUSION:
            return _confused(name, confusion(probs.argmax(1), labels, rows, probs.shape[1]))
        return None
    family, _, wanted = name.partition("_")
    if family not in OVERLAP or wanted not in ("", *classes[1:]):
        return None
    scored = "test_volumes" if "test_volumes" in stored else "test_groups"
    _, first, members = np.unique(stored[scored], return_index=True, return_inverse=True)
    counts = np.stack([stored[f"test_{part}"] for part in ("tp", "fp", "fn")], -1)
    values = OVERLAP[family](_sum_by(members, counts)[:, 1:])  # (volumes, K - 1)
    if wanted:
        values = values[:, [classes.index(wanted) - 1]]
    owner = rows[first]  # the group of each volume
    return lambda weights: weighted_mean(values, weights[:, owner])


def _sum_by(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return `values` (n, ...) summed over the images of each group, (G, ...) float."""
    summed = np.zeros((rows.max() + 1, *values.shape[1:]))
    np.add.at(summed, rows, values)
    return summed


def confusion(
    predicted: np.ndarray, labels: np.ndarray, rows: np.ndarray, num_classes: int
) -> np.ndarray:
    """Return the confusion matrix of each group, (G, K, K): truth along axis 1."""
    one = np.eye(num_classes)
    return _sum_by(rows, one[labels][:, :, None] * one[predicted][:, None, :])


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _confused(name: str, matrices: np.ndarray) -> Metric:
    """Return a metric of weighted confusion matrices (G, K, K), by their margins alone."""
    num_classes = matrices.shape[1]
    right = np.diagonal(matrices, axis1=1, axis2=2)
    seen = (matrices * _penalty(num_classes)).sum((1, 2))
    parts = np.column_stack([right, matrices.sum(2), matrices.sum(1), seen])
    cuts = [num_classes, 2 * num_classes, 3 * num_classes]

    def metric(weights: np.ndarray) -> np.ndarray:
        drawn = weights @ parts.astype(weights.dtype)
        return CONFUSION[name](*np.split(drawn, cuts, axis=1))

    return metric


def _penalty(num_classes: int) -> np.ndarray:
    """Return the quadratic weights (i - j)^2 of kappa, (K, K)."""
    return np.subtract.outer(np.arange(num_classes), np.arange(num_classes)) ** 2


# Metrics of R confusion matrices: `right` (R, K) are their diagonals, `truth` and `answers` (R, K)
# the images of each class and those that were put into it, `seen` (R, 1) the sum of penalties.


def accuracy(
    right: np.ndarray, truth: np.ndarray, answers: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return the share of right answers."""
    return _divide(right.sum(1), truth.sum(1))


def balanced_accuracy(
    right: np.ndarray, truth: np.ndarray, answers: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return the mean recall over the classes that are present."""
    return _nanmean(_divide(right, truth))


def kappa(
    right: np.ndarray, truth: np.ndarray, answers: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return Cohen's kappa with quadratic weights (Cohen 1968); NaN where it is undefined."""
    chance = ((truth @ _penalty(truth.shape[1]).astype(truth.dtype)) * answers).sum(1)
    return 1 - _divide(seen[:, 0] * truth.sum(1), chance)


def macro_f1(
    right: np.ndarray, truth: np.ndarray, answers: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return the mean F1 over all classes, 0 for one that is neither present nor predicted."""
    return np.nan_to_num(_divide(2 * right, truth + answers)).mean(1)


def auc(probs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean area over classes of weighted images; `weights` (R, n), ties count half.

    `truth` (n, K) bool. Weighted Mann-Whitney statistic: the weight of the pairs in the right order
    over all pairs. Classes that a resample shows in no image, or in every image, are left out of
    its mean.
    """
    areas = []
    for k in range(probs.shape[1]):
        _, places = np.unique(probs[:, k], return_inverse=True)
        order = np.argsort(places, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(places[order]) > 0])
        found = truth[order, k]
        drawn = weights[:, order]
        positive = np.add.reduceat(drawn * found, starts, axis=1)
        negative = np.add.reduceat(drawn * ~found, starts, axis=1)
        below = negative.cumsum(1) - negative / 2
        areas.append(_divide((positive * below).sum(1), positive.sum(1) * negative.sum(1)))
    return _nanmean(np.array(areas).T)


def dice(counts: np.ndarray) -> np.ndarray:
    """Return Dice of pixel counts (..., 3); NaN where truth and prediction are both empty."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    return _divide(2 * tp, 2 * tp + fp + fn)


def iou(counts: np.ndarray) -> np.ndarray:
    """Return the Jaccard index of pixel counts (..., 3), empty masks as in `dice`."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    return _divide(tp, tp + fp + fn)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over classes of the weighted mean over rows; NaN values are left out."""
    known = ~np.isnan(values)
    return _nanmean(_divide(weights @ np.where(known, values, 0), weights @ known))


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Return the mean along the last axis without NaN, NaN where nothing else is there."""
    known = ~np.isnan(values)
    return _divide(np.where(known, values, 0).sum(-1), known.sum(-1))


CONFUSION: dict[str, Callable[..., np.ndarray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "kappa": kappa,
    "macro_f1": macro_f1,
}
OVERLAP: dict[str, Callable[[np.ndarray], np.ndarray]] = {"dice": dice, "iou": iou}
