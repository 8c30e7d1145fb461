"""What stays warm between cells of one process: pristine backbones and decoded images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from benchmark import backbones
from benchmark.backbones.shared import Pristine
from benchmark.core.cell import Cell
from benchmark.core.settings import Settings
from benchmark.data import Dataset, decoded, open_dataset, sealed, split
from benchmark.training.cost import Probe
from benchmark.training.subset import Subset

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    """The images of one cell. Only `train` and `val` ever reach `fit`."""

    dataset: Dataset
    train: Subset
    val: Subset
    test: Subset


@dataclass
class Session:
    """Loads backbones and images once for many cells; `cache` is where decoded images are kept.

    `sources` maps the name of a data set or backbone in cells to what opens it, where that is a
    path: cells hold no paths. `halvings`: how often memory ran out before; each time, half as many
    images go through a model at once.
    """

    cache: Path
    sources: dict[str, str]
    device: torch.device = field(default_factory=lambda: best_device())
    num_kept: int = 2
    halvings: int = 0
    probes: dict[Hashable, Probe] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    _kept: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)

    def dataset(self, name: str, fingerprint: str = "") -> Dataset:
        """Return the opened data set of this name.

        With the `fingerprint` that a cell was planned with, the sealed index of that content is
        enough: no image file is looked at. Without one there is nothing to know it by.
        """

        def opened() -> Dataset:
            found = sealed.opened(name, fingerprint, self.cache, self._files(name))
            if found is None:
                found = open_dataset(self.source(name))
                sealed.seal(found, self.cache)
            return found

        return self.kept(("dataset", name, fingerprint), opened)

    def _files(self, name: str) -> Callable[[], Dataset]:
        source = self.source(name)
        return lambda: open_dataset(source)

    def source(self, name: str) -> str:
        """Return what opens the data set or backbone that cells call `name`."""
        return self.sources.get(name, name)

    def weights(self, cell: Cell) -> str:
        """Return the fingerprint of the weights that the cell's backbone has now."""
        source = self.source(cell.backbone)
        return self.kept(("fingerprint", source), lambda: backbones.fingerprint(source))

    def backbone(self, cell: Cell) -> nn.Module:
        """Return a fresh copy of the cell's pre-trained backbone on the device.

        Its parameters lie in memory that all copies share: `own_trained` before training.
        """
        key = ("backbone", cell.backbone, cell.image_size)
        source = self.source(cell.backbone)
        pristine = self.kept(
            key, lambda: Pristine(lambda: backbones.create(source, cell.image_size), self.device)
        )
        return pristine.copy()

    def data(self, cell: Cell) -> Data:
        """Return the cell's three splits over images decoded at its size."""
        dataset = self.dataset(cell.dataset, cell.data)
        drawn = (cell.dataset, cell.data, cell.fraction, cell.split_seed, cell.shots)
        rows = self.kept(
            ("split", *drawn),
            lambda: split(dataset, cell.fraction, cell.split_seed, shots=cell.shots),
        )
        needed = np.concatenate([rows.train, rows.val, rows.test])
        arrays = self.kept(
            ("arrays", *drawn, cell.image_size),
            lambda: decoded(dataset, cell.image_size, self.cache, needed),
        )
        targets = dataset.labels if arrays.masks is None else arrays.masks
        parts = (
            subset_of(dataset, arrays.images, targets, part)
            for part in (rows.train, rows.val, rows.test)
        )
        return Data(dataset, *parts)

    def kept(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """Return what `make` made for this key; per kind, the `num_kept` last used stay."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        same_kind = [k for k in self._kept if k[0] == key[0]]  # type: ignore[index]
        for old in same_kind[: -self.num_kept]:
            del self._kept[old]
        return self._kept[key]


def subset_of(
    dataset: Dataset, images: np.ndarray, targets: np.ndarray, rows: np.ndarray
) -> Subset:
    """Return the part of a data set in `rows`, over decoded `images` and all `targets`."""
    kinds = (dataset.ids, dataset.groups, dataset.volumes or dataset.groups)
    names, groups, volumes = ([values[i] for i in rows] for values in kinds)
    return Subset(images, targets, rows, names, groups, volumes)


def best_device() -> torch.device:
    """Return the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
