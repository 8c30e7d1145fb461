"""What a frozen backbone makes of each image, computed once for all cells that share it.

Where images are not changed at random, every step of every cell computes the same again: all that
the head reads where no tensor of the backbone is trained (`Head`), else all below the lowest
trained block (`prefix.Prefix`). It is computed in one pass over the data set and kept on the disk,
by content: other weights, images, sizes or precisions are other features. A cell with `views` has
a pass for each view beside the one for the images themselves.

The numbers are those of the uncached path but for rounding: a matrix product may sum in another
order for another number of images, so float32 features differ by about 1e-6 of their size.

Legend: n images, F values that are read of one image, B images of a batch, S image side.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.core.cell import Cell
from benchmark.core.files import digest
from benchmark.data import cache
from benchmark.training.augment import Augmentation, policies
from benchmark.training.fit import EVAL_BATCH, Setup
from benchmark.training.head import Classifier, Segmenter
from benchmark.training.kept import prefix
from benchmark.training.kept.prefix import Prefix
from benchmark.training.kept.store import Features, Shapes, parts, read, write
from benchmark.training.session import Data, Session
from benchmark.training.subset import Change, Subset

VERSION = 2  # of what is stored: change it with the way features are made
LIMIT_BYTES = 2 << 30  # more than this is not cached


@dataclass(frozen=True)
class FeatureSubset(Subset):
    """A split whose `images` are the features ((1 + views) n, F) of the whole data set.

    First those of all n images, then those of the first view of each, and so on.
    """

    def load(self, positions: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (features (B, F), targets) at `positions`, on `device`."""
        return self._read(positions, self.rows[positions], device)

    def views(
        self, positions: np.ndarray, numbers: np.ndarray, device: torch.device, change: Change
    ) -> tuple[Tensor, Tensor]:
        """Return (features of the views of these numbers (B, F), targets)."""
        return self._read(
            positions, self.rows[positions] + (1 + numbers) * len(self.targets), device
        )

    def _read(
        self, positions: np.ndarray, rows: np.ndarray, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        targets = torch.from_numpy(self.targets[self.rows[positions]])
        return torch.from_numpy(self.images[rows]).to(device), targets.to(device)


@dataclass(frozen=True)
class FeatureSetup(Setup):
    """A setup whose model reads features: there is nothing to normalise."""

    def normalize(self, images: Tensor) -> Tensor:
        """Return `images`, which are features, as they are."""
        return images


class Head:
    """All below the head: what it reads is kept, and the head alone goes on."""

    name = "head"

    def __init__(self, model: Classifier | Segmenter) -> None:
        self.model = model

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Return what is kept of normalised `images` (B, 3, S, S)."""
        return self.model.encode(images)

    def resume(self, shapes: Shapes, side: int) -> nn.Module:
        """Return the module that goes on from flat features (B, F) to logits."""
        return Decision(self.model, shapes, side)


class Decision(nn.Module):
    """The head of `model` alone, on flat features (B, F)."""

    def __init__(self, model: Classifier | Segmenter, shapes: Shapes, side: int) -> None:
        super().__init__()
        self.head = model.head
        self._decide, self._shapes, self._side = model.decide, shapes, side

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of `features`."""
        return self._decide(parts(features, self._shapes), self._side)


def use_cached(setup: Setup, data: Data, cell: Cell, session: Session) -> tuple[Setup, Data]:
    """Return setup and data that start from cached features, or both as they are.

    They are as they are where the first block is trained or something is random, where images are
    augmented afresh, and where the cache would be too large. A cache that cannot be written costs
    a sentence on standard error.
    """
    start = _start(setup.model, cell)
    if start is None:
        return setup, data
    work = Work(replace(setup, model=setup.model.eval()), data, cell, start)
    found = session.kept(("features", _key(cell, session, start)), lambda: _features(work, session))
    if found is None:
        return setup, data
    swapped = FeatureSetup(**{**vars(setup), "model": start.resume(found.shapes, cell.image_size)})
    splits: dict[str, Any] = {
        name: FeatureSubset(**{**vars(getattr(data, name)), "images": found.values})
        for name in ("train", "val", "test")
    }
    return swapped, replace(data, **splits)


def _start(model: nn.Module, cell: Cell) -> Head | Prefix | None:
    """Return where training can start from what is kept of each image, or None."""
    if not isinstance(model, Classifier | Segmenter) or not is_constant(model.body, cell):
        return None
    if cell.views and isinstance(model, Segmenter):
        return None  # the masks of views are not kept
    if any(parameter.requires_grad for parameter in model.body.parameters()):
        return prefix.find(model, cell)
    return Head(model)


def is_constant(body: nn.Module, cell: Cell) -> bool:
    """Return whether what is frozen of `body` makes the same of an image in each step."""
    random = any(
        getattr(module, name, 0)
        for module in body.modules()
        for name in ("p", "drop_prob")
        if isinstance(getattr(module, name, 0), float)
    )
    return not random and (policies[cell.augment] == Augmentation() or cell.views > 0)


def _key(cell: Cell, session: Session, start: Head | Prefix) -> str:
    """Return 16 hex digits over all that the features depend on."""
    parts = [VERSION, cache.VERSION, cell.data, cell.backbone, cell.weights, cell.normalize]
    parts += [cell.image_size, cell.precision, cell.method, start.name]
    parts += [session.device.type, torch.__version__]
    parts += [cell.views, cell.augment] if cell.views else []
    return digest(json.dumps(parts))


@dataclass(frozen=True)
class Work:
    """One pass over all images and views of a data set."""

    setup: Setup
    data: Data
    cell: Cell
    start: Head | Prefix

    @property
    def count(self) -> int:
        """Return the number of rows: one for each image, and one for each of its views."""
        return len(self.data.dataset) * (1 + self.cell.views)


def _features(work: Work, session: Session) -> Features | None:
    """Return the features from the disk, else computed and written there; None where too large."""
    folder = session.cache / f"features-{_key(work.cell, session, work.start)}"
    found = read(folder, work.count)
    if found is not None:
        return found
    shapes = [list(part.shape[1:]) for part in _encode(work, np.arange(1), None)]
    if work.count * sum(int(np.prod(shape)) for shape in shapes) * 4 > LIMIT_BYTES:
        return None
    made = Features(_compute(work), shapes)
    try:
        write(folder, made)
    except OSError as error:
        sys.stderr.write(f"features are not kept on the disk: {error.strerror or error}\n")
    return made


def _compute(work: Work) -> np.ndarray:
    """Return the features of all images, in the order of the data set, then of their views."""
    size = len(work.data.dataset)
    found = [
        torch.cat([part.flatten(1) for part in _encode(work, rows, view)], 1)
        for view in (None, *range(work.cell.views))
        for rows in np.split(np.arange(size), range(EVAL_BATCH, size, EVAL_BATCH))
    ]
    return torch.cat(found).numpy()


def _encode(work: Work, rows: np.ndarray, view: int | None) -> Sequence[Tensor]:
    """Return what is kept of the images in these rows of the data set, on the CPU."""
    setup, images = work.setup, replace(work.data.train, rows=rows)
    positions = np.arange(len(rows))
    if view is None:
        shown = setup.normalize(images.load(positions, setup.device)[0])
    else:
        change = Change(policies[work.cell.augment], setup.normalize)
        shown, _ = images.views(positions, np.full(len(rows), view), setup.device, change)
    with torch.inference_mode(), setup.autocast():
        found = work.start.encode(shown)
    return [part.float().cpu() for part in found]
