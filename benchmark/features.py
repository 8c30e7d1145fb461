"""What a frozen backbone makes of each image, computed once for all cells that share it.

Where no tensor of the backbone is trained and images are not changed at random, every step of every
cell would compute the same features again. They are computed in one pass over the data set and kept
on the disk, by content: other weights, images, sizes or precisions are other features.

The numbers are those of the uncached path but for rounding: a matrix product may sum in another
order for another number of images, so float32 features differ by about 1e-6 of their size.

Legend: n images, F values that the head reads of one image, B images of a batch, S image side.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.augment import Augmentation, policies
from benchmark.data import cache
from benchmark.heads import Classifier, Segmenter
from benchmark.session import Data, Session
from benchmark.spec import Cell
from benchmark.train import EVAL_BATCH, Setup, Subset

VERSION = 1  # of what is stored: change it with the way features are made
LIMIT_BYTES = 2 << 30  # more than this is not cached
Shapes = list[list[int]]


@dataclass(frozen=True)
class Features:
    """`values` (n, F) float32 of all images; `shapes` of the tensors that F is made of."""

    values: np.ndarray
    shapes: Shapes


@dataclass(frozen=True)
class FeatureSubset(Subset):
    """A split whose `images` are the features (n, F) of the whole data set."""

    def load(self, positions: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (features (B, F), targets) at `positions`, on `device`."""
        rows = self.rows[positions]
        features, targets = (torch.from_numpy(v[rows]) for v in (self.images, self.targets))
        return features.to(device), targets.to(device)


@dataclass(frozen=True)
class FeatureSetup(Setup):
    """A setup whose model reads features: there is nothing to normalise."""

    def normalize(self, images: Tensor) -> Tensor:
        """Return `images`, which are features, as they are."""
        return images


class Decision(nn.Module):
    """The head of `model` alone, on flat features (B, F)."""

    def __init__(self, model: Classifier | Segmenter, shapes: Shapes, side: int) -> None:
        super().__init__()
        self.head = model.head
        self._decide, self._shapes, self._side = model.decide, shapes, side

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of `features`."""
        parts = features.split([int(np.prod(shape)) for shape in self._shapes], 1)
        maps = [part.unflatten(1, shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return self._decide(maps, self._side)


def use_cached(setup: Setup, data: Data, cell: Cell, session: Session) -> tuple[Setup, Data]:
    """Return setup and data that start from cached features, or both as they are.

    They are as they are where something below the head is trained or random, where images are
    augmented, and where the cache cannot be written (one sentence on standard error says so).
    """
    model = setup.model
    if not isinstance(model, Classifier | Segmenter) or not is_constant(model.body, cell):
        return setup, data
    found = session.kept(
        ("features", _key(cell, session)), lambda: _features(setup, data, cell, session)
    )
    if found is None:
        return setup, data
    decision = Decision(model, found.shapes, cell.image_size)
    swapped = FeatureSetup(**{**vars(setup), "model": decision})
    parts: dict[str, Any] = {
        name: FeatureSubset(**{**vars(getattr(data, name)), "images": found.values})
        for name in ("train", "val", "test")
    }
    return swapped, replace(data, **parts)


def is_constant(body: nn.Module, cell: Cell) -> bool:
    """Return whether `body` makes the same of an image in every step of `cell`."""
    random = any(
        getattr(module, name, 0)
        for module in body.modules()
        for name in ("p", "drop_prob")
        if isinstance(getattr(module, name, 0), float)
    )
    trained = any(parameter.requires_grad for parameter in body.parameters())
    return not random and not trained and policies[cell.augment] == Augmentation()


def _key(cell: Cell, session: Session) -> str:
    """Return 16 hex digits over all that the features depend on."""
    parts = [
        VERSION,
        cache.VERSION,
        cell.data,
        cell.backbone,
        cell.weights,
        cell.normalize,
        cell.image_size,
    ]
    parts += [cell.precision, cell.method, session.device.type, torch.__version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _features(setup: Setup, data: Data, cell: Cell, session: Session) -> Features | None:
    """Return the features from the disk, else computed and written there; None where too large."""
    folder = session.cache / f"features-{_key(cell, session)}"
    found = read(folder, len(data.dataset))
    if found is not None:
        return found
    shapes = _shapes(setup, data)
    if len(data.dataset) * sum(int(np.prod(shape)) for shape in shapes) * 4 > LIMIT_BYTES:
        return None
    made = Features(_compute(setup, data), shapes)
    try:
        write(folder, made)
    except OSError as error:
        sys.stderr.write(f"features are not kept on the disk: {error.strerror or error}\n")
    return made


def _shapes(setup: Setup, data: Data) -> Shapes:
    return [list(part.shape[1:]) for part in _encode(setup, data, np.arange(1))]


def _compute(setup: Setup, data: Data) -> np.ndarray:
    """Return (n, F) of all images of the data set, in its order."""
    starts = range(0, len(data.dataset), EVAL_BATCH)
    rows = (np.arange(s, min(s + EVAL_BATCH, len(data.dataset))) for s in starts)
    parts = [torch.cat([t.flatten(1) for t in _encode(setup, data, r)], 1) for r in rows]
    return torch.cat(parts).numpy()


def _encode(setup: Setup, data: Data, rows: np.ndarray) -> Sequence[Tensor]:
    """Return what the head reads of the images in these rows of the data set, on the CPU."""
    setup.model.eval()
    images, _ = replace(data.train, rows=rows).load(np.arange(len(rows)), setup.device)
    with torch.inference_mode(), setup.autocast():
        parts = setup.model.encode(setup.normalize(images))  # type: ignore[operator]
    return [part.float().cpu() for part in parts]


def write(folder: Path, features: Features) -> None:
    """Write features whole or not at all; a folder that stands there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        np.save(temporary / "values.npy", features.values)
        meta = {"shapes": features.shapes, "checksum": _checksum(temporary / "values.npy")}
        (temporary / "meta.json").write_text(json.dumps(meta))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(folder: Path, count: int) -> Features | None:
    """Return the features of `count` images in `folder`; None where any is absent or damaged."""
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        if meta["checksum"] != _checksum(folder / "values.npy"):
            return None
        values = np.load(folder / "values.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    width = sum(int(np.prod(shape)) for shape in meta["shapes"])
    fits = values.shape == (count, width) and values.dtype == np.float32
    return Features(values, meta["shapes"]) if fits else None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
