"""Metrics as pure functions on arrays; a value that is undefined is None, never a made-up number.

Legend: n images, K classes, (H, W) the mask size. Fractions, not percent.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn import metrics as sk

from benchmark.data.base import IGNORE

Scores = dict[str, float | None]


def classification(probs: np.ndarray, labels: np.ndarray) -> Scores:
    """Return accuracy, quadratic weighted kappa, AUC, balanced accuracy and macro F1.

    `probs` (n, K) sums to 1 along K, `labels` (n,) holds class numbers. The AUC is the mean over
    classes of one-vs-rest, over the classes that are both present and absent in some image;
    balanced accuracy is the mean recall over the classes present (scikit-learn's definitions).
    """
    predicted = probs.argmax(1)
    classes = np.arange(probs.shape[1])
    with warnings.catch_warnings():  # scikit-learn warns where a value is undefined: None here
        warnings.simplefilter("ignore")
        kappa = sk.cohen_kappa_score(labels, predicted, labels=classes, weights="quadratic")
        return {
            "accuracy": float((predicted == labels).mean()),
            "kappa": _defined(kappa),
            "auc": _auc(probs, labels),
            "balanced_accuracy": _defined(sk.balanced_accuracy_score(labels, predicted)),
            "macro_f1": _defined(
                sk.f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)
            ),
        }


def multilabel(probs: np.ndarray, labels: np.ndarray) -> Scores:
    """Return AUC, accuracy and macro F1 of findings `labels` (n, K) of 0 and 1, `probs` (n, K).

    The AUC is the mean over findings that are both present and absent in some image. Accuracy is
    the share of right yes-or-no answers at .5 over all findings (as in MedMNIST).
    """
    called: np.ndarray = probs >= 0.5
    truth: np.ndarray = labels.astype(bool)
    return {
        "auc": _auc(probs, truth),
        "accuracy": float((called == truth).mean()),
        "macro_f1": float(sk.f1_score(truth, called, average="macro", zero_division=0)),
    }


def truth_of(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (n, K) bool from class numbers (n,), or from findings (n, K)."""
    single = labels.ndim == 1
    truth: np.ndarray = labels[:, None] == np.arange(num_classes) if single else labels.astype(bool)
    return truth


def _auc(probs: np.ndarray, labels: np.ndarray) -> float | None:
    truth = truth_of(labels, probs.shape[1])
    mixed = truth.any(0) & ~truth.all(0)
    areas = [sk.roc_auc_score(truth[:, k], probs[:, k]) for k in np.flatnonzero(mixed)]
    return float(np.mean(areas)) if areas else None


def auc_per_class(probs: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Scores:
    """Return "auc_CLASS", each class against the rest; None where it is absent or alone."""
    columns = zip(classes, truth_of(labels, probs.shape[1]).T, probs.T, strict=True)
    return {
        f"auc_{name}": float(sk.roc_auc_score(truth, area))
        if truth.any() and not truth.all()
        else None
        for name, truth, area in columns
    }


def overlap(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Return pixel counts (n, K, 3) of true positives, false positives and false negatives.

    `predicted` and `truth` are (n, H, W) class maps; pixels whose truth is IGNORE do not count.
    """
    counted = truth != IGNORE
    columns = []
    for k in range(num_classes):
        p, t = (predicted == k) & counted, (truth == k) & counted
        columns.append([(p & t).sum((1, 2)), (p & ~t).sum((1, 2)), (~p & t).sum((1, 2))])
    return np.array(columns).transpose(2, 0, 1)


def by_group(counts: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Return `counts` (n, K, 3) summed over the images of each group (a volume): (g, K, 3)."""
    _, rows = np.unique(np.asarray(groups), return_inverse=True)
    summed = np.zeros((rows.max() + 1, *counts.shape[1:]), counts.dtype)
    np.add.at(summed, rows, counts)
    return summed


def dice(counts: np.ndarray) -> np.ndarray:
    """Return Dice 2TP / (2TP + FP + FN) of `counts` (..., 3).

    Empty-mask rule: NaN (left out of means) where truth and prediction are both empty, 0 where
    only one of them is: a missed structure and a false alarm both count.
    """
    tp, fp, fn = np.moveaxis(counts.astype(float), -1, 0)
    with np.errstate(invalid="ignore"):
        return 2 * tp / (2 * tp + fp + fn)


def iou(counts: np.ndarray) -> np.ndarray:
    """Return the Jaccard index TP / (TP + FP + FN) with the empty-mask rule of `dice`."""
    tp, fp, fn = np.moveaxis(counts.astype(float), -1, 0)
    with np.errstate(invalid="ignore"):
        return tp / (tp + fp + fn)


def segmentation(counts: np.ndarray, groups: Sequence[str], classes: Sequence[str]) -> Scores:
    """Return Dice and IoU per foreground class and their means ("dice", "iou").

    `counts` (n, K, 3) is from `overlap`. They are added up within a group first, so that a volume
    is scored as a volume; then averaged over groups, then over classes. Class 0 is background.
    """
    grouped = by_group(counts, groups)[:, 1:]
    scores: Scores = {}
    for name, values in (("dice", dice(grouped)), ("iou", iou(grouped))):
        means = [_mean(column) for column in values.T]
        scores[name] = _mean(np.array([np.nan if m is None else m for m in means]))
        scores |= {f"{name}_{c}": m for c, m in zip(classes[1:], means, strict=True)}
    return scores


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
