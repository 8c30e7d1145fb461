"""What stands behind one entry of a table: its runs, classes, confidence, training and images.

Legend: n images, K classes, M methods.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.core.files import PREDICTIONS
from benchmark.core.record import Record
from benchmark.core.registry import InputError
from benchmark.scores.metric import mean_of_known
from benchmark.scores.metrics.overlap import dice
from results.figures.confusion import added
from results.figures.reliability import measure, scaled
from results.figures.training import mean_curve
from results.frame.predictions import read_arrays
from results.tables import Column, Table

Values = dict[str, Any]
Arrays = dict[str, np.ndarray]
MOST_IMAGES = 150  # of a column, those on which any two methods differ most
MOST_CLASSES = 40  # of a matrix that a page can show
MOST_POINTS = 40  # of a training curve
# A score of an image is one byte: 0 to 250 for 0 to 1; a class number, too.
STEPS, NONE = 250, 255
CLASSIFIED = ("test_ids", "test_probs", "test_labels", "val_probs", "val_labels")
SEGMENTED = ("test_ids", "test_tp", "test_fp", "test_fn")


def of_column(
    table: Table, column: Column, records: Mapping[str, Record]
) -> tuple[dict[str, Values], Values]:
    """Return (details of each method with a number in this column, its images)."""
    found: dict[str, Values] = {}
    images: dict[str, Images] = {}
    best = table.chosen[column]
    for method, rows in best.groupby("method", sort=False):
        stored = [arrays for row in rows.itertuples() if (arrays := read(row))]
        values = _curve(rows, column, records)
        if stored and all("test_probs" in arrays for arrays in stored):
            values |= _classified(stored)
        if stored:
            images[str(method)] = Images.of(stored)
        if values:
            found[str(method)] = values
    shown = disagreements(images)
    for method, one in images.items():
        if shown:
            found.setdefault(method, {})["images"] = one.packed(shown)
    truth = {
        name: one.truth[name] for one in images.values() for name in shown if name in one.truth
    }
    return found, {
        "ids": shown,
        "truth": [truth.get(name) for name in shown],
        "count": max((len(one.scores) for one in images.values()), default=0),
    }


def read(row: Any) -> Arrays | None:
    """Return the stored arrays of a cell; None without any, or where they are damaged."""
    if not row.has_predictions:
        return None
    try:
        found = read_arrays(Path(row.folder) / PREDICTIONS, (*CLASSIFIED, *SEGMENTED))
        return found if "test_ids" in found and len(found) > 1 else None
    except InputError:
        return None  # the statistics name the file


def _classified(stored: Sequence[Arrays]) -> Values:
    """Return the confusion matrix, row by row, and the points of reliability before and after."""
    if stored[0]["test_labels"].ndim != 1:
        return {}
    found: Values = {}
    if stored[0]["test_probs"].shape[1] <= MOST_CLASSES:
        found["confusion"] = added(stored).astype(int).ravel().tolist()
    both = [measure([(s["test_probs"], s["test_labels"]) for s in stored])]
    if all("val_probs" in s and len(s["val_probs"]) for s in stored):
        both.append(measure(scaled(stored)))
    found["reliability"] = [
        {
            "ece": round(one.ece, 4),
            "points": [[round(float(x), 3), round(float(y), 3), int(n)] for x, y, n in one.points],
        }
        for one in both
    ]
    return found


def _curve(rows: pd.DataFrame, column: Column, records: Mapping[str, Record]) -> Values:
    """Return means over runs of training loss and validation score at some steps."""
    histories = [records[f].history for f in rows["folder"] if f in records and records[f].history]
    found = {}
    for name, source in (("loss", "train_loss"), ("val", f"val_{column.metric}")):
        points = mean_curve(histories, source) if histories else []
        # evenly thinned; the last is the end of training and stays
        step = -(-len(points) // MOST_POINTS) or 1
        found[name] = [[int(x), float(f"{y:.4g}")] for x, y in points[::-1][::step][::-1]]
    return {"curve": found} if found["loss"] or found["val"] else {}


class Images:
    """Scores of one method's test images, means over its runs: of the true class, or Dice.

    `scores` and `truth` are by image id. `classes` are numbers of the most probable class, where
    every image has one.
    """

    def __init__(self, scores: dict[str, float], truth: dict[str, int], classes: dict[str, int]):
        self.scores, self.truth, self.classes = scores, truth, classes

    @classmethod
    def of(cls, stored: Sequence[Arrays]) -> Images:
        """Return the images of several runs; a run on another split has other images."""
        sums: dict[str, list[float]] = {}
        probs: dict[str, np.ndarray] = {}
        truth: dict[str, int] = {}
        for arrays in stored:
            ids = list(map(str, arrays["test_ids"]))
            for name, value in zip(ids, image_scores(arrays).tolist(), strict=True):
                sums.setdefault(name, []).append(value)
            if "test_labels" in arrays and arrays["test_labels"].ndim == 1:
                truth |= dict(zip(ids, arrays["test_labels"].tolist(), strict=True))
                for name, row in zip(ids, arrays["test_probs"], strict=True):
                    probs[name] = probs[name] + row if name in probs else row
        means = {name: float(mean_of_known(np.array(values))) for name, values in sums.items()}
        return cls(means, truth, {name: int(row.argmax()) for name, row in probs.items()})

    def packed(self, ids: Sequence[str]) -> str:
        """Return a byte for the score of each image, and where there are classes one for each."""
        scores = np.array([self.scores.get(name, np.nan) for name in ids])
        known = np.where(np.isnan(scores), NONE, np.round(STEPS * np.nan_to_num(scores)))
        parts = [known]
        if self.classes:
            parts.append(np.array([min(self.classes.get(name, NONE), NONE) for name in ids]))
        return base64.b64encode(np.concatenate(parts).astype(np.uint8).tobytes()).decode()


def image_scores(arrays: Arrays) -> np.ndarray:
    """Return (n,) in [0, 1]: the probability of the truth, mean over findings; or mean Dice.

    NaN where an image shows no structure and none was found.
    """
    if "test_probs" not in arrays:
        each = dice(arrays["test_tp"], arrays["test_fp"], arrays["test_fn"])[:, 1:]
        return mean_of_known(each)
    probs, labels = arrays["test_probs"].astype(float), arrays["test_labels"]
    if labels.ndim == 1:
        found: np.ndarray = probs[np.arange(len(labels)), labels.astype(int)]
        return found
    return np.where(labels.astype(bool), probs, 1 - probs).mean(1)


def disagreements(images: Mapping[str, Images]) -> list[str]:
    """Return the ids of the images on which any two methods differ most, the largest first."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for one in images.values():
        for name, value in one.scores.items():
            if value == value:
                low[name] = min(value, low.get(name, 1.0))
                high[name] = max(value, high.get(name, 0.0))
    order = sorted(low, key=lambda name: (low[name] - high[name], name))
    return order[:MOST_IMAGES] if len(images) > 1 else []
