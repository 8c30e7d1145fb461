"""Scores of a finished cell from its stored predictions alone: needs no training to add one.

They are computed when a cell ends, and again by `report --rescore`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.scores import calibration, metrics, surfaces
from benchmark.scores.metrics import Scores

VERSION = 1  # of the definitions below


def scores(arrays: Mapping[str, np.ndarray], data: Mapping[str, Any], split: str) -> Scores:
    """Return all scores of a split ("val" or "test").

    `arrays` is what `artifacts.write_predictions` stores, `data` the record's description of the
    data. Temperature scaling is fitted on validation, also for the test set.
    """
    if data["task"] == "classification":
        return _classification(arrays, data["classes"], split)
    if data["task"] == "multilabel":
        return _multilabel(arrays[f"{split}_probs"], arrays[f"{split}_labels"], data["classes"])
    return _segmentation(arrays, data["classes"], split)


def _classification(arrays: Mapping[str, np.ndarray], classes: list[str], split: str) -> Scores:
    probs, labels = arrays[f"{split}_probs"], arrays[f"{split}_labels"]
    value = calibration.temperature(arrays["val_probs"], arrays["val_labels"])
    calm = calibration.scaled(probs, value)
    found: Scores = metrics.classification(probs, labels)
    found |= metrics.auc_per_class(probs, labels, classes)
    found |= {
        "ece": calibration.ece(probs, labels),
        "brier": calibration.brier(probs, labels),
        "ece_scaled": calibration.ece(calm, labels),
        "brier_scaled": calibration.brier(calm, labels),
        "temperature": value,
    }
    for specificity in calibration.SPECIFICITIES:
        found |= _sensitivity(probs, labels, classes, specificity)
    return found


def _multilabel(probs: np.ndarray, labels: np.ndarray, classes: list[str]) -> Scores:
    """Return the scores of findings (n, K); the Brier score is the mean over findings (0 to 1)."""
    found: Scores = metrics.multilabel(probs, labels)
    found |= metrics.auc_per_class(probs, labels, classes)
    found["brier"] = float(((probs - labels) ** 2).mean())
    for specificity in calibration.SPECIFICITIES:
        found |= _sensitivity(probs, labels, classes, specificity)
    return found


def _sensitivity(
    probs: np.ndarray, labels: np.ndarray, classes: list[str], specificity: float
) -> Scores:
    """Return the sensitivity of each class against the rest, and their mean.

    With two classes the second is the finding, and the mean is its sensitivity.
    """
    name = f"sensitivity_at_{100 * specificity:.0f}"
    truth = metrics.truth_of(labels, len(classes))
    two = labels.ndim == 1 and len(classes) == 2
    numbers = [1] if two else range(len(classes))
    found = {k: calibration.sensitivity_at(probs[:, k], truth[:, k], specificity) for k in numbers}
    known = [value for value in found.values() if value is not None]
    mean = float(np.mean(known)) if known else None
    return {name: mean, **{f"{name}_{classes[k]}": value for k, value in found.items()}}


def _segmentation(arrays: Mapping[str, np.ndarray], classes: list[str], split: str) -> Scores:
    counts = np.stack([arrays[f"{split}_{kind}"] for kind in ("tp", "fp", "fn")], -1)
    volumes = arrays.get(f"{split}_volumes", arrays[f"{split}_groups"]).tolist()
    found = metrics.segmentation(counts, volumes, classes)
    if f"{split}_truth" not in arrays:  # written before the truth was stored
        return found
    extent = arrays.get(f"{split}_extent")
    predicted, truth = arrays[f"{split}_masks"], arrays[f"{split}_truth"]
    predicted = np.where(truth == metrics.IGNORE, 0, predicted)
    units = list(surfaces.units(predicted, truth, volumes, extent))
    return found | surfaces.scores(units, classes, "px" if extent is None else "mm")
