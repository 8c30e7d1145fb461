"""Class imbalance as settings of a cell: a weighted loss, or batches that show classes equally."""

from __future__ import annotations

import numpy as np

from benchmark.core.registry import InputError

KINDS = ("none", "loss", "sampler")


def check(kind: str, task: str) -> None:
    """Raise InputError for an unknown kind, or one that the task has no classes for."""
    if kind not in KINDS:
        raise InputError(f"unknown balance {kind!r}; allowed: {', '.join(KINDS)}")
    if kind != "none" and task != "classification":
        raise InputError(
            f"balance {kind!r} needs one class per image, and the data set is for {task}"
        )


def weights(labels: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Return n / (K n_k) for each class: they average to 1 over the training images `labels` (n,).

    ("Balanced" weights of King and Zeng 2001, as in scikit-learn.)
    """
    counts = np.bincount(labels, minlength=num_classes)
    return tuple(float(v) for v in len(labels) / (num_classes * np.maximum(counts, 1)))
