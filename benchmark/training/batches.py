"""Which images a step sees: a function of the step and the cell alone, the same for every method.

Batches are full whatever the label fraction, and a resumed run sees what it would have seen. What
is drawn once per epoch is kept, so that a step costs the same however large the set is.

Legend: B batch size, n images of the training split.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from benchmark.core.cell import Cell, seed


class Shuffled:
    """One permutation of the training split after the other."""

    def __init__(self, size: int, cell: Cell) -> None:
        self._size, self._batch = size, cell.batch_size
        order = seed(cell, "order")
        # a batch may end one epoch and begin the next: two permutations are in use
        self._permutation = lru_cache(2)(
            lambda epoch: np.random.default_rng([order, epoch]).permutation(size)
        )

    def __call__(self, step: int) -> np.ndarray:
        """Return the positions (B,) of step `step`."""
        slots = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(slots, self._size)
        drawn = [self._permutation(int(e))[places[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(drawn)


class Balanced:
    """The classes in turn, each in a random order: all of its images once before any twice."""

    def __init__(self, labels: np.ndarray, cell: Cell) -> None:
        self._batch, order = cell.batch_size, seed(cell, "order")
        classes = np.unique(labels)
        self._members = [np.flatnonzero(labels == label) for label in classes]

        def permuted(index: int, epoch: int) -> np.ndarray:
            members = self._members[index]
            rng = np.random.default_rng([order, epoch, int(classes[index])])
            return members[rng.permutation(len(members))]

        self._permuted = lru_cache(2 * len(classes))(permuted)

    def __call__(self, step: int) -> np.ndarray:
        """Return the positions (B,) of step `step`."""
        slots = range(step * self._batch, (step + 1) * self._batch)
        return np.array([self._draw(slot) for slot in slots])

    def _draw(self, slot: int) -> int:
        turn, index = divmod(slot, len(self._members))
        epoch, place = divmod(turn, len(self._members[index]))
        return int(self._permuted(index, epoch)[place])
