"""The input pipeline alone: the cache of decoded images against JPEG decoding in worker processes.

Legend: n images, B images of a batch, S image side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmark.bench import timing
from benchmark.bench.timing import Estimate, Watch
from benchmark.data import decoded, open_dataset
from benchmark.training.augment import policies
from benchmark.training.pixels import normalized, statistics
from benchmark.training.source import Images, Subset

WORKERS = 2
BATCH = 32
BATCHES = 4  # in one repeat
NORMALIZE = "0.5,0.5,0.5/0.25,0.25,0.25"


@dataclass(frozen=True)
class Rate:
    """One line: images per second of the cache and of the JPEG pipeline, and their ratio."""

    name: str
    images_per_s: float
    jpeg_images_per_s: float
    ratio: Estimate


def write_jpegs(folder: Path, count: int, side: int, *, grey: bool = False) -> Path:
    """Write smooth seeded images of two classes as JPEG files and return their folder."""
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        path = folder / "ab"[index % 2] / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        (image.convert("L") if grey else image).save(path, quality=90)
    return folder


class Jpegs(Dataset[Tensor]):
    """The usual way: a file is decoded, resized, changed and normalised when it is asked for."""

    def __init__(self, paths: list[Path], side: int, train: bool) -> None:
        policy = policies["default"]
        change = [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(
                policy.degrees,
                (policy.shift, policy.shift),
                (1 - policy.scale, 1 + policy.scale),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.ColorJitter(brightness=policy.contrast, contrast=policy.contrast),
        ]
        tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        normalize = v2.Normalize([0.5] * 3, [0.25] * 3)
        resize = v2.Resize((side, side), interpolation=v2.InterpolationMode.BICUBIC)
        self.paths = paths
        self.change = v2.Compose([resize, *(change if train else []), *tensor, normalize])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            changed: Tensor = self.change(image.convert("RGB"))
        return changed


def forever(loader: DataLoader[Tensor]) -> Iterator[Tensor]:
    """Yield batches without end."""
    while True:
        yield from loader


def cached_batches(
    subset: Subset, size: int, train: bool, device: torch.device
) -> Iterator[Tensor]:
    """Yield batches (B, 3, S, S) as the training loop makes them, without end."""
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    mean, std = statistics(NORMALIZE, device)
    images = Images(subset, partial(normalized, mean=mean, std=std), policies["default"])
    while True:
        positions = rng.choice(len(subset), size)
        if train:
            yield images.augmented(positions, generator, device)[0]
        else:
            yield images.still(positions, device)[0]


def open_subset(folder: Path, side: int) -> Subset:
    """Return all images of a folder from the cache of decoded images."""
    dataset = open_dataset(str(folder))
    images = decoded(dataset, side, folder.parent / "cache").images
    rows = np.arange(len(dataset))
    return Subset(images, dataset.labels, rows, dataset.ids, dataset.groups)


def folder_of(folder: Path, colour: str, file_side: int) -> Path:
    """Return where `measure` writes its files of one kind ("RGB" or "grey")."""
    return folder / f"{colour}-{file_side}"


def measure(folder: Path, count: int, side: int, file_side: int, watch: Watch) -> list[Rate]:
    """Return the rates of input at S x S from `count` JPEG files of `file_side`, by the wall clock.

    The files are written to `folder`. Both ways run alternately; the workers of the JPEG pipeline
    idle while the other is timed, once what they prefetch is done.
    """
    rates = []
    for colour, grey in (("RGB", False), ("grey", True)):
        files = write_jpegs(folder_of(folder, colour, file_side), count, file_side, grey=grey)
        subset, paths = open_subset(files, side), sorted(files.rglob("*.jpg"))
        for train, use in ((True, "training"), (False, "evaluation")):
            name = f"{use}, {colour} files of {file_side} px"
            rates.append(_rate(name, subset, paths, train, watch))
    return rates


def _rate(name: str, subset: Subset, paths: list[Path], train: bool, watch: Watch) -> Rate:
    side = subset.images.shape[1]
    loader = DataLoader(
        Jpegs(paths, side, train),
        BATCH,
        shuffle=train,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="spawn",
    )
    ours, theirs = cached_batches(subset, BATCH, train, watch.device), forever(loader)
    wall = Watch(watch.device, watch.rounds, 1)
    actions = {"cache": _several(ours, BATCHES), "jpeg": _several(theirs, len(loader))}
    seconds = timing.interleaved(actions, wall)
    per_image = {
        "cache": [s / BATCHES / BATCH for s in seconds["cache"]],
        "jpeg": [s / len(paths) for s in seconds["jpeg"]],
    }
    rates = {name: 1 / median(found) for name, found in per_image.items()}
    return Rate(name, rates["cache"], rates["jpeg"], timing.ratios(per_image, "jpeg", "cache"))


def _several(batches: Iterator[Tensor], count: int) -> Callable[[], None]:
    def draw() -> None:
        for _ in range(count):
            next(batches)

    return draw


def wait_share(subset: Subset, size: int, step: Callable[[], object], watch: Watch) -> float:
    """Return the share of the time of `step` and its batch that goes into making the batch."""
    batches = cached_batches(subset, size, True, watch.device)
    actions = {"batch": lambda: next(batches), "step": step}
    found = {name: median(s) for name, s in timing.interleaved(actions, watch).items()}
    return found["batch"] / (found["batch"] + found["step"])
