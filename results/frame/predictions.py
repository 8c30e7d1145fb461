"""The stored test predictions of a cell, as a metric of any weighting of its patients."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.core.files import AGAIN, PREDICTIONS, open_arrays
from benchmark.core.registry import InputError
from benchmark.scores import Predictions, Weighted, metric_of
from benchmark.scores.metric import check_split

# what reading half a file, or one with swapped bytes, raises
DAMAGED = (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Tested:
    """The test groups of one cell, in sorted order, and a metric of any weighting of them."""

    groups: tuple[str, ...]
    metric: Weighted


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


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return those of the arrays `names` ("val_labels", ...) that the stored predictions hold.

    Raises:
        InputError: for a file that is not whole, or arrays that do not belong together.
    """
    with open_arrays(path, AGAIN) as stored:
        found = {name: stored[name] for name in names if name in stored}
        for split in ("val", "test"):
            own = {n: a for n, a in found.items() if n.startswith(f"{split}_")}
            check_split(split, {n.removeprefix(f"{split}_"): a for n, a in own.items()})
    return found


def class_counts(folder: str) -> np.ndarray | None:
    """Return how many test images of a cell are of each class (K,); None without one class each.

    None for damaged predictions as well: the statistics name them.
    """
    try:
        stored = read_arrays(Path(folder) / PREDICTIONS, ("test_probs", "test_labels"))
    except InputError:
        return None
    if len(stored) < 2 or stored["test_labels"].ndim != 1:
        return None
    return np.bincount(stored["test_labels"], minlength=stored["test_probs"].shape[1])


def read(path: Path, metric: str, classes: Sequence[str]) -> Tested | None:
    """Return the tested groups of a cell; None where `metric` cannot be had from what is stored.

    A resampled classification metric weighs every image by how often its group was drawn. A
    segmentation metric is a mean over volumes, as in the record, weighed by their groups' draws.
    """
    measure = metric_of(metric)
    with open_arrays(path, AGAIN) as stored:
        predictions = Predictions.of_split(stored, classes, "test", only=measure)
    weighted = measure.weighted(predictions)
    return Tested(predictions.group_names, weighted) if weighted else None
