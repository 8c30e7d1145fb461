"""Class imbalance as settings of a cell: a weighted loss, or batches that show classes equally."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.core.cell import Cell
from benchmark.core.registry import InputError, Registry
from benchmark.training.batches import Balanced, Shuffled
from benchmark.training.source import Source

Order = Callable[[int], np.ndarray]  # from a step to the positions (B,) of its batch


def shuffled(train: Source, cell: Cell) -> Order:
    """Return one permutation of the training images after the other."""
    return Shuffled(len(train), cell)


def unweighted(labels: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Return (): all classes weigh alike, and no labels need be read."""
    return ()


@dataclass(frozen=True)
class Balance:
    """How a cell deals with imbalance: which images a step sees, and weights of the classes.

    `weights` are made of the labels (n,) and the number of classes.
    """

    order: Callable[[Source, Cell], Order] = shuffled
    weights: Callable[[np.ndarray, int], tuple[float, ...]] = unweighted
    needs_classes: bool = True


def weights(labels: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Return n / (K n_k) for each class: they average to 1 over the training images `labels` (n,).

    ("Balanced" weights of King and Zeng 2001, as in scikit-learn.)
    """
    counts = np.bincount(labels, minlength=num_classes)
    return tuple(float(v) for v in len(labels) / (num_classes * np.maximum(counts, 1)))


kinds: Registry[Balance] = Registry("balance")
kinds.add("none")(Balance(needs_classes=False))
kinds.add("loss")(Balance(weights=weights))
kinds.add("sampler")(Balance(order=lambda train, cell: Balanced(train.labels, cell)))


def check(kind: str, task: str) -> None:
    """Raise InputError for an unknown kind, or one that the task has no classes for."""
    if kinds[kind].needs_classes and task != "classification":
        raise InputError(
            f"balance {kind!r} needs one class per image, and the data set is for {task}"
        )
