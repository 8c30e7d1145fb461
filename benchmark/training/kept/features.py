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
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.core.cell import Cell
from benchmark.core.files import digest
from benchmark.data import cache
from benchmark.training import memory
from benchmark.training.augment import UNCHANGED, policies
from benchmark.training.fit import Setup
from benchmark.training.head import Model, Segmenter
from benchmark.training.kept import prefix
from benchmark.training.kept.store import Features, Shapes, parts, read, write
from benchmark.training.pixels import sent
from benchmark.training.session import Session
from benchmark.training.source import Batch, Images, Source, picked

VERSION = 3  # of what is stored: change it with the way features are made
LIMIT_BYTES = 2 << 30  # more than this is not cached


@dataclass(frozen=True)
class Splits:
    """The three splits of a cell as the loop reads them. Only `train` and `val` reach `fit`."""

    train: Source
    val: Source
    test: Source


@dataclass(frozen=True)
class Kept(Source):
    """Kept features in the place of images.

    `values` ((1 + views) N, F) are of the whole data set, on the disk or on a device: first those
    of all N images, then those of the first view of each, and so on.
    """

    values: np.ndarray | Tensor
    views: int

    @property
    def is_slow(self) -> bool:
        """Whether a batch takes the host long: features are a copy of some kilobytes."""
        return False

    def still(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return the features (B, F) of the images, and targets."""
        rows = self.subset.rows[positions]
        return self._at(rows, rows, device)

    def augmented(
        self, positions: np.ndarray, generator: torch.Generator, device: torch.device
    ) -> Batch:
        """Return the features (B, F) of a random view of each image, and targets."""
        if not self.views:  # nothing is changed at random, or there would be no features
            return self.still(positions, device)
        numbers = torch.randint(self.views, (len(positions),), generator=generator).numpy()
        rows = self.subset.rows[positions]
        return self._at(rows, rows + (1 + numbers) * len(self.subset.targets), device)

    def _at(self, rows: np.ndarray, places: np.ndarray, device: torch.device) -> Batch:
        targets = torch.from_numpy(self.subset.targets[rows])
        return sent(picked(self.values, places), device), sent(targets, device)


class Start(Protocol):
    """Where training goes on from what is kept: after the body (`Head`), or within (`Prefix`)."""

    name: str

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Return what is kept of normalised `images` (B, 3, S, S)."""
        ...

    def resume(self, shapes: Shapes, side: int) -> Model:
        """Return the model that goes on from flat features (B, F) to logits."""
        ...


class Head:
    """All below the head: what it reads is kept, and the head alone goes on."""

    def __init__(self, model: Model) -> None:
        self.model, self.name = model, "head"

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Return what the head reads of normalised `images` (B, 3, S, S)."""
        return self.model.encode(images)

    def resume(self, shapes: Shapes, side: int) -> Model:
        """Return the head alone."""
        return Decision(self.model, shapes, side)


class Decision(Model):
    """The head of `model` alone, on flat features (B, F) in the place of images."""

    def __init__(self, model: Model, shapes: Shapes, side: int) -> None:
        super().__init__(nn.Identity(), model.head)
        self._decide, self.shapes, self.side = model.decide, shapes, side

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Return what the head reads, in its shapes."""
        return parts(images, self.shapes)

    def compilable(self) -> list[nn.Module]:
        """Return none: no block runs in a step."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the features that stand for `images`."""
        return self._decide(self.encode(images), self.side)


def from_kept(
    setup: Setup, splits: Splits, cell: Cell, session: Session
) -> tuple[Setup, Splits, bool]:
    """Return setup and splits that start from kept features, and true; or both as they are.

    They are as they are where the first block is trained or something is random, where images are
    augmented afresh, and where the features would be too large. What cannot be written to the disk
    costs a sentence on standard error.
    """
    start = _start(setup, cell)
    if start is None or not isinstance(splits.train, Images):
        return setup, splits, False
    work = Work(setup, splits.train, cell, start)
    key = ("features", _key(cell, session, start))
    found = session.kept(key, lambda: _features(work, session))
    if found is None:
        return setup, splits, False
    values = session.on_card(("values", key[1]), found.values, np.arange(len(found.values)))
    kept = Splits(
        *(
            Kept(split.subset, values, cell.views)
            for split in (splits.train, splits.val, splits.test)
        )
    )
    return replace(setup, model=start.resume(found.shapes, cell.image_size)), kept, True


def _start(setup: Setup, cell: Cell) -> Start | None:
    """Return where training can start from what is kept of each image, or None."""
    model = setup.model
    if not is_constant(model.body, cell):
        return None
    if cell.views and isinstance(model, Segmenter):
        return None  # the masks of views are not kept
    if any(parameter.requires_grad for parameter in model.body.parameters()):
        with setup.autocast():  # frozen weights may be held in bfloat16
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
    return not random and (policies[cell.augment] == UNCHANGED or cell.views > 0)


def _key(cell: Cell, session: Session, start: Start) -> str:
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
    images: Images  # of any split: only what is done to an image counts
    cell: Cell
    start: Start

    @property
    def size(self) -> int:
        """Return the number of images of the data set."""
        return len(self.images.subset.targets)


def _features(work: Work, session: Session) -> Features | None:
    """Return the features from the disk, else computed and written there; None where too large."""
    folder = session.cache / f"features-{_key(work.cell, session, work.start)}"
    count = work.size * (1 + work.cell.views)
    found = read(folder, count)
    if found is not None:
        return found
    # features are for every cell of this data set: no row may be one that was not decoded yet
    subset = replace(work.images.subset, images=session.whole(work.cell))
    work = replace(work, images=replace(work.images, subset=subset))
    work.setup.model.eval()
    shapes = [list(part.shape[1:]) for part in _encode(work, np.arange(1), None)]
    width = sum(int(np.prod(shape)) for shape in shapes)
    if count * width * 4 > LIMIT_BYTES:
        return None
    values = np.empty((count, width), np.float32)
    at = 0
    for view in (None, *range(work.cell.views)):
        encode = partial(_encode, work, view=view)
        chunks = memory.chunks(session.device, session.settings.processes_per_gpu)
        for tensors in chunks.map(work.size, encode):
            size = len(tensors[0])
            torch.cat(
                [part.flatten(1) for part in tensors],
                1,
                out=torch.from_numpy(values[at : at + size]),
            )
            at += size
    made = Features(values, shapes)
    try:
        write(folder, made)
    except OSError as error:
        sys.stderr.write(f"features are not kept on the disk: {error.strerror or error}\n")
    return made


def _encode(work: Work, rows: np.ndarray, view: int | None) -> Sequence[Tensor]:
    """Return what is kept of the images in these rows of the data set, on the CPU."""
    images = replace(work.images, subset=replace(work.images.subset, rows=rows))
    positions, device = np.arange(len(rows)), work.setup.device
    with torch.inference_mode():
        if view is None:
            shown, _ = images.still(positions, device)
        else:
            shown, _ = images.seen(positions, np.full(len(rows), view), device)
        with work.setup.autocast():
            found = work.start.encode(shown)
    return [part.float().cpu() for part in found]
