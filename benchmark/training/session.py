"""What stays warm between cells of one process: pristine backbones and decoded images."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import backbones
from benchmark.backbones.shared import Pristine
from benchmark.core.cell import Cell
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.data import Dataset, decoded, open_dataset, sealed, split
from benchmark.training import compiled, memory
from benchmark.training.checkpoint import Progress
from benchmark.training.compiled import Compiler
from benchmark.training.first_pass import FirstPass
from benchmark.training.pixels import sent
from benchmark.training.source import Subset

T = TypeVar("T")
SENT_BYTES = 1 << 26  # to a GPU in one piece: the host holds no second copy of a data set
KEPT = 2  # backbones, data sets and the like that stay
SPLITS = 64  # row numbers of as many splits stay: they are small beside images, and slow to draw


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
    images go through a model at once. `planned`: the cells that are likely to follow. `ahead`: what
    became of heads that were trained with another cell's, by the key of their own cell.
    `card_share`: of a GPU's free memory that decoded images may take, and features; the processes
    that share a GPU share it out.
    """

    cache: Path
    sources: dict[str, str]
    device: torch.device = field(default_factory=lambda: best_device())
    halvings: int = 0
    first_passes: dict[Hashable, FirstPass] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    planned: Sequence[Cell] = ()
    ahead: dict[str, Progress] = field(default_factory=dict)
    compiler: Compiler = field(default_factory=Compiler)
    card_share: float = 0.25
    _kept: OrderedDict[tuple[Hashable, ...], Any] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        compiled.check(self.settings, self.device)
        if self.device.type == "cuda":
            check_card(self.device)
            torch.cuda.set_device(self.device)  # what takes "the current device" takes this one

    def dataset(self, name: str, fingerprint: str = "") -> Dataset:
        """Return the opened data set of this name.

        With the `fingerprint` that a cell was planned with, the sealed index of that content is
        enough: no image file is looked at. Without one there is nothing to know it by.
        """
        source = self.source(name)

        def opened() -> Dataset:
            files = partial(open_dataset, source)
            found = sealed.opened(name, fingerprint, self.cache, files)
            if found is None:
                found = files()
                sealed.seal(found, self.cache)
            return found

        return self.kept(("dataset", name, fingerprint), opened)

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
        """Return what `decoded` does, its images on a GPU that has room for those of the set."""
        found = self.decoded(cell)
        parts = (found.train, found.val, found.test)
        images = found.train.images
        assert isinstance(images, np.ndarray)
        key = (cell.dataset, cell.data, cell.image_size, images.shape[-1])
        there = self.on_card(("images", *key), images, np.concatenate([p.rows for p in parts]))
        return Data(found.dataset, *(replace(part, images=there) for part in parts))

    def decoded(self, cell: Cell) -> Data:
        """Return the cell's three splits over images decoded at its size, on the disk."""
        dataset = self.dataset(cell.dataset, cell.data)
        drawn = (cell.dataset, cell.data, cell.fraction, cell.split_seed, cell.shots, cell.subset)
        rows = self.kept(
            ("split", *drawn),
            lambda: split(
                dataset, cell.fraction, cell.split_seed, shots=cell.shots, subset=cell.subset
            ),
            SPLITS,
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

    def whole(self, cell: Cell) -> np.ndarray:
        """Return the images of the cell's data set (N, S, S, C), every one of them decoded."""
        dataset = self.dataset(cell.dataset, cell.data)
        return decoded(dataset, cell.image_size, self.cache).images

    def kept(self, key: tuple[Hashable, ...], make: Callable[[], T], most: int = KEPT) -> T:
        """Return what `make` made for this key; per kind, the `most` last used stay.

        The first part of the key is the kind.
        """
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        same_kind = [k for k in self._kept if k[0] == key[0]]
        for old in same_kind[:-most]:
            del self._kept[old]
        value: T = self._kept[key]
        return value

    def on_card(
        self, key: tuple[Hashable, ...], values: np.ndarray, rows: np.ndarray
    ) -> np.ndarray | Tensor:
        """Return `values`, these `rows` at least, on a GPU that has room for all; else as given.

        A batch is then picked there, at no cost to the host. `key` is what `values` are kept by:
        the splits of a data set share what lies there.
        """
        if self.device.type != "cuda":
            return values
        there = self.kept(key, lambda: self._room(values))
        if there is None:
            del self._kept[key]  # the next cell may find more room
            return values
        there.send(values, rows)
        return there.values

    def _room(self, values: np.ndarray) -> OnCard | None:
        """Return room for `values` on the GPU, or None where they would take more than a share."""
        free = memory.free_bytes(self.device)
        fits = values.nbytes < self.card_share / self.settings.processes_per_gpu * free
        return OnCard.like(values, self.device) if fits else None

    def clear_card(self, cell: Cell) -> bool:
        """Give up what lies on a GPU and `cell` can do without; return whether there was any."""
        if self.device.type != "cuda":
            return False
        own = ("backbone", cell.backbone, cell.image_size)
        kinds = ("backbone", "images", "values")
        found = [k for k in self._kept if k[0] in kinds and k != own]
        for key in found:
            del self._kept[key]
        return bool(found)

    def held_bytes(self, model: nn.Module) -> int:
        """Return the memory of the device that is held for others than `model`, a cell's own.

        Of a pre-trained backbone that is what the model has no use for: weights that it trains are
        copies, and those that it holds in bfloat16 are others.
        """
        if self.device.type != "cuda":
            return 0
        models = [v for k, v in self._kept.items() if k[0] == "backbone"]
        data = [v for k, v in self._kept.items() if k[0] in ("images", "values")]
        held = sum(pristine.unused_bytes(model) for pristine in models)
        return held + sum(int(one.values.nbytes) for one in data)


@dataclass
class OnCard:
    """Rows of an array (n, ...) on a device; `there` (n,) says which have been sent."""

    values: Tensor
    there: np.ndarray

    @classmethod
    def like(cls, values: np.ndarray, device: torch.device) -> OnCard:
        """Return room for all rows of `values`, of which none is there yet."""
        dtype = torch.from_numpy(np.empty(0, values.dtype)).dtype
        room = torch.empty(values.shape, dtype=dtype, device=device)
        return cls(room, np.zeros(len(values), bool))

    def send(self, values: np.ndarray, rows: np.ndarray) -> None:
        """Copy those `rows` of `values` that are not there yet, a little at a time."""
        missing = np.unique(rows[~self.there[rows]])
        size = max(1, SENT_BYTES // max(1, values[:1].nbytes))
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            places = sent(torch.from_numpy(part), self.values.device)
            piece = sent(torch.from_numpy(values[part]), self.values.device)
            self.values.index_copy_(0, places, piece)
            self.there[part] = True


def subset_of(
    dataset: Dataset, images: np.ndarray, targets: np.ndarray, rows: np.ndarray
) -> Subset:
    """Return the part of a data set in `rows`, over decoded `images` and all `targets`."""
    kinds = (dataset.ids, dataset.groups, dataset.volumes or dataset.groups)
    names, groups, volumes = ([values[i] for i in rows] for values in kinds)
    return Subset(images, targets, rows, names, groups, volumes)


def best_device() -> torch.device:
    """Return the first GPU, else the CPU."""
    # by its number: `torch.cuda.set_device` refuses a GPU without one
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def check_card(device: torch.device) -> None:
    """Refuse a GPU for which this torch was built without kernels.

    Its first kernel would fail in words like those of a GPU that is lost, in each cell anew.

    Raises:
        InputError: says what the card is, and what torch has kernels for.
    """
    if device.type != "cuda" or torch.version.hip:
        return
    built = re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(torch.cuda.get_arch_list()))
    if not built:
        return
    card = torch.cuda.get_device_capability(device)
    # kernels run on later cards of their generation, and PTX ("compute") is compiled for any later
    runs = [
        (int(major), int(minor)) <= card and (kind == "compute" or int(major) == card[0])
        for kind, major, minor in built
    ]
    if not any(runs):
        known = ", ".join(dict.fromkeys(f"{major}.{minor}" for _, major, minor in built))
        raise InputError(
            f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)} "
            f"(compute capability {card[0]}.{card[1]}), but for {known}; install a torch that is "
            "built for an older CUDA, or set CUDA_VISIBLE_DEVICES= to do without the GPU"
        )


def has_bfloat16(device: torch.device) -> bool:
    """Return whether `device` is a GPU that multiplies bfloat16; older ones (T4, V100) emulate it.

    They do so several times slower than they multiply float32.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
