"""One split of one cell, as the training loop and the evaluation read it.

Legend: B batch size, C channels (1 where all images are grey), S image side, N images of a data
set, n images of a split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmark.core.cell import Cell
from benchmark.training.augment import (
    UNCHANGED,
    Augmentation,
    change,
    change_masks,
    draws,
    policies,
    view_draws,
)
from benchmark.training.pixels import normalized, sent, statistics

Batch = tuple[Tensor, Tensor]  # what goes into the model, and targets


@dataclass(frozen=True)
class Subset:
    """Rows of decoded arrays, in a fixed order.

    `images` (N, S, S, C) uint8 and `targets` (N,) or (N, S, S) belong to the whole data set, on the
    disk or on a device; `rows` (n,) says which are ours.
    """

    images: np.ndarray | Tensor
    targets: np.ndarray
    rows: np.ndarray
    ids: Sequence[str]
    groups: Sequence[str]
    volumes: Sequence[str] = ()  # what is scored as one; left out: the groups

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def units(self) -> Sequence[str]:
        """Return what each image is scored with (n,): its volume, or its group."""
        return self.volumes or self.groups

    @property
    def labels(self) -> np.ndarray:
        """Return the classes (n,) of this split, in classification."""
        return self.targets[self.rows]

    def load(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return (images uint8 (B, C, S, S), targets) at `positions` of this split."""
        rows = self.rows[positions]
        images, targets = picked(self.images, rows), torch.from_numpy(self.targets[rows])
        return sent(images, device).permute(0, 3, 1, 2), sent(targets, device)


def picked(values: np.ndarray | Tensor, rows: np.ndarray) -> Tensor:
    """Return the `rows` of `values`, where these are: on the disk, or on a device."""
    if isinstance(values, Tensor):
        return values[sent(torch.from_numpy(rows), values.device)]
    return torch.from_numpy(values[rows])


@dataclass(frozen=True)
class Source(ABC):
    """What `fit` and `evaluate` know of a split: batches of model inputs, whatever they are."""

    subset: Subset

    def __len__(self) -> int:
        return len(self.subset)

    @property
    def labels(self) -> np.ndarray:
        """Return the classes (n,), in classification."""
        return self.subset.labels

    @property
    def units(self) -> Sequence[str]:
        """Return what each image is scored with (n,): its volume, or its group."""
        return self.subset.units

    @property
    @abstractmethod
    def is_slow(self) -> bool:
        """Whether a batch takes the host long: images that are not on the device."""

    @abstractmethod
    def still(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return the images at `positions` of this split, unchanged."""

    @abstractmethod
    def augmented(
        self, positions: np.ndarray, generator: torch.Generator, device: torch.device
    ) -> Batch:
        """Return the images at `positions` as a step of training sees them.

        What is random comes from `generator`, on the CPU: the same on all devices.
        """


@dataclass(frozen=True)
class Images(Source):
    """Images of a split, normalised, and changed within `policy` for training.

    With `views` > 0 each image has so many fixed changes, of which each step draws one.
    """

    normalize: Callable[[Tensor], Tensor]
    policy: Augmentation = UNCHANGED
    views: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether a batch takes the host long: images that are not on the device."""
        return not isinstance(self.subset.images, Tensor)

    def still(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return normalised images (B, 3, S, S) and targets."""
        images, targets = self.subset.load(positions, device)
        return self.normalize(images), targets

    def augmented(
        self, positions: np.ndarray, generator: torch.Generator, device: torch.device
    ) -> Batch:
        """Return normalised images (B, 3, S, S), changed at random, and targets."""
        if self.views:
            numbers = torch.randint(self.views, (len(positions),), generator=generator).numpy()
            return self.seen(positions, numbers, device)
        return self._changed(positions, draws(len(positions), generator), device)

    def seen(self, positions: np.ndarray, numbers: np.ndarray, device: torch.device) -> Batch:
        """Return each image as its fixed view of this number."""
        draw = view_draws(self.subset.rows[positions], numbers)
        return self._changed(positions, draw, device)

    def _changed(self, positions: np.ndarray, draw: Tensor, device: torch.device) -> Batch:
        images, targets = self.subset.load(positions, device)
        if targets.ndim == 3:  # masks move with their images, classes stay
            targets = change_masks(targets, self.policy, draw)
        return change(images, self.policy, draw, self.normalize), targets


def images_of(subset: Subset, cell: Cell, device: torch.device) -> Images:
    """Return the split as `cell` normalises and augments it."""
    mean, std = statistics(cell.normalize, device)
    normalize = partial(normalized, mean=mean, std=std)
    return Images(subset, normalize, policies[cell.augment], cell.views)
