"""Which images a step sees: a function of the step and the cell alone, the same for every method.

Legend: B batch size.
"""

from __future__ import annotations

import numpy as np

from benchmark.core.cell import Cell, seed


def batch_positions(step: int, size: int, cell: Cell) -> np.ndarray:
    """Return the positions (B,) in the training split of step `step`.

    Batches run through one permutation after the other, so every batch is full whatever the label
    fraction; a function of the step alone, so that a resumed run sees what it would have seen.
    """
    slots = np.arange(step * cell.batch_size, (step + 1) * cell.batch_size)
    epochs = {int(e): _permutation(int(e), size, cell) for e in np.unique(slots // size)}
    return np.array([epochs[int(slot) // size][slot % size] for slot in slots])


def _permutation(epoch: int, size: int, cell: Cell) -> np.ndarray:
    return np.random.default_rng([seed(cell, "order"), epoch]).permutation(size)


def balanced_positions(step: int, labels: np.ndarray, cell: Cell) -> np.ndarray:
    """Return the positions (B,) of step `step`, the classes in turn, each in its own random order.

    A function of the step alone: every image of a class is drawn once before any of it twice.
    """
    classes = np.unique(labels)
    slots = np.arange(step * cell.batch_size, (step + 1) * cell.batch_size)
    return np.array([_draw(int(slot), classes, labels, cell) for slot in slots])


def _draw(slot: int, classes: np.ndarray, labels: np.ndarray, cell: Cell) -> int:
    label = int(classes[slot % len(classes)])
    members = np.flatnonzero(labels == label)
    epoch, place = divmod(slot // len(classes), len(members))
    order = np.random.default_rng([seed(cell, "order"), epoch, label]).permutation(len(members))
    return int(members[order[place]])
