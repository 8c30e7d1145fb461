"""One split of one cell: images and targets as the training loop and the evaluation load them.

Legend: B batch size, C channels (1 where all images are grey), S image side, N images of a data
set, n images of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.training.augment import Augmentation, change, change_masks, view_draws


@dataclass(frozen=True)
class Change:
    """What is done to loaded images: they are changed within `policy`, then `then` is done."""

    policy: Augmentation
    then: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor, targets: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Return both changed by `draw` (10, B): masks move with their images, classes stay."""
        if targets.ndim == 3:
            targets = change_masks(targets, self.policy, draw)
        return change(images, self.policy, draw, self.then), targets


@dataclass(frozen=True)
class Subset:
    """One split of one cell: rows of decoded arrays, in a fixed order.

    `images` (N, S, S, C) uint8 and `targets` (N,) or (N, S, S) belong to the whole data set;
    `rows` (n,) says which are ours.
    """

    images: np.ndarray
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

    def load(self, positions: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (images uint8 (B, C, S, S), targets) at `positions` of this split."""
        rows = self.rows[positions]
        images = torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)
        return images.to(device), torch.from_numpy(self.targets[rows]).to(device)

    def views(
        self, positions: np.ndarray, numbers: np.ndarray, device: torch.device, change: Change
    ) -> tuple[Tensor, Tensor]:
        """Return what `load` does after `change`, each image as its fixed view of this number."""
        return change(*self.load(positions, device), view_draws(self.rows[positions], numbers))
