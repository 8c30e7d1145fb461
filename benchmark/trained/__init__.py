"""A trained cell, loaded again: for predictions on new images, and for export.

trained = load("runs/.../f40-s0-0123456789abcdef")
table = trained.predict(["one.png", "two.png"])

Legend: B images, K classes, S the cell's image side, (H, W) an image's own size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark import backbones
from benchmark.core.files import DELTA
from benchmark.core.numbers import PROBABILITY
from benchmark.core.record import RECORD, Record, read_record
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.data.base import Card
from benchmark.data.readers.declared import Declaration, checked
from benchmark.data.readers.images import read_rgb, resize
from benchmark.training import memory
from benchmark.training.arithmetic import arithmetic
from benchmark.training.artifacts import read_delta
from benchmark.training.first_pass import freeze_unreached, without_gradient
from benchmark.training.head import Model
from benchmark.training.pixels import normalized, statistics
from benchmark.training.run import assemble, load_state
from benchmark.training.session import best_device, check_card

BATCH = 16
Read = Callable[[Path], np.ndarray]
FOREIGN = re.compile(r"(?:^|\+)\s*([\w.]+:\w+)")  # MODULE:CLASS, one of the methods of a spec


@dataclass(frozen=True)
class Trained:
    """A model with its record; `model` maps normalised images (B, 3, S, S) to logits."""

    record: Record
    model: Model
    device: torch.device

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of the logits."""
        return list(self.record.data.classes)

    @property
    def task(self) -> str:
        """Return "classification", "multilabel" or "segmentation"."""
        return self.record.data.task

    @property
    def declared(self) -> Declaration:
        """Return what was declared of reading the images that the cell was trained on."""
        return checked(self.record.data.reading, Path(RECORD))

    def predict(
        self,
        images: Sequence[str | Path],
        threshold: float | None = None,
        read: Read | None = None,
    ) -> pd.DataFrame:
        """Return one row per image: `image`, `prediction` (a class), `prob_CLASS` for each class.

        `threshold`: with two classes, the second is predicted from this probability on; in
        multi-label cells each finding is, and `prediction` joins them by +. `read` returns the
        pixels (H, W, 3) of an image; None: they are read as those of the training were.

        Raises:
            InputError: for a segmentation cell, an unreadable image, or a threshold that does not
                apply.
        """
        if self.task == "segmentation":
            raise InputError("this cell segments; use `masks`, or `predict --out FOLDER`")
        self._check_threshold(threshold)
        paths = [Path(image) for image in images]
        several = self.task == "multilabel"
        parts = [x.sigmoid() if several else x.softmax(1) for x, _ in self._logits(paths, read)]
        probs = torch.cat(parts).numpy() if parts else np.zeros((0, len(self.classes)))
        named = {f"prob_{name}": probs[:, i] for i, name in enumerate(self.classes)}
        predicted = self._named(probs, threshold)
        return pd.DataFrame({"image": [str(p) for p in paths], "prediction": predicted, **named})

    def _named(self, probs: np.ndarray, threshold: float | None) -> list[str]:
        """Return the class of each image, or its findings joined by +."""
        if self.task == "multilabel":
            called = probs >= (0.5 if threshold is None else threshold)
            return ["+".join(np.array(self.classes)[row]) for row in called]
        chosen = probs.argmax(1) if threshold is None else (probs[:, 1] >= threshold).astype(int)
        return [self.classes[i] for i in chosen]

    def masks(
        self,
        images: Sequence[str | Path],
        threshold: float | None = None,
        read: Read | None = None,
    ) -> Iterator[tuple[Path, np.ndarray]]:
        """Yield (path, mask): class numbers (H, W) uint8 in the image's own size.

        Logits are interpolated to that size (bilinear) before the class is chosen; `threshold` and
        `read` as in `predict`.
        """
        if self.task != "segmentation":
            raise InputError("this cell classifies; use `predict` with a .csv")
        self._check_threshold(threshold)
        paths = [Path(image) for image in images]
        position = 0
        for logits, sizes in self._logits(paths, read):
            for single, size in zip(logits, sizes, strict=True):
                large = F.interpolate(single[None], size, mode="bilinear", align_corners=False)
                probs = large.softmax(1)[0]
                mask = probs.argmax(0) if threshold is None else probs[1] >= threshold
                yield paths[position], mask.to(torch.uint8).numpy()
                position += 1

    def _check_threshold(self, threshold: float | None) -> None:
        if threshold is None:
            return
        if len(self.classes) != 2 and self.task != "multilabel":
            raise InputError(f"a threshold needs two classes; this cell has {len(self.classes)}")
        PROBABILITY.check(threshold, "threshold")

    def _logits(
        self, paths: list[Path], given: Read | None
    ) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
        side = self.record.cell.image_size
        read = given or partial(read_rgb, declared=self.declared)

        def logits(positions: np.ndarray) -> tuple[Tensor, list[tuple[int, int]]]:
            images = [read(paths[position]) for position in positions]
            sizes = [(image.shape[0], image.shape[1]) for image in images]
            stack = torch.from_numpy(np.stack([resize(image, side) for image in images]))
            batch = self.normalize(stack.permute(0, 3, 1, 2).to(self.device))
            with torch.inference_mode(), arithmetic(Settings()):
                return self.model(batch).float().cpu(), sizes

        yield from memory.Chunks(BATCH).map(len(paths), logits)

    def normalize(self, images: Tensor) -> Tensor:
        """Return `images` (B, C, S, S), bytes or in [0, 1], with the mean and std of the cell."""
        return normalized(images, *statistics(self.record.cell.normalize, images.device))


def check_code(method: str, allowed: Collection[str]) -> None:
    """Raise InputError for a method outside of this project that nobody allowed by name.

    Such a method is a module that would be imported, so run; a record comes from anybody.
    """
    for name in FOREIGN.findall(method):
        if name not in allowed:
            raise InputError(
                f"the record names the method {name!r}, code from outside of this project that "
                f"would be run; if you trust it, say --allow-code {name}"
            )


def load(
    folder: str | Path,
    weights: str | None = None,
    device: torch.device | None = None,
    allowed: Collection[str] = (),
) -> Trained:
    """Return the trained model of a finished cell's folder.

    `weights` names the backbone where the cell's own name is no source, as with `file:PATH@NAME`.
    `allowed` names the methods of your own (`MODULE:CLASS`) that may be imported.

    Raises:
        InputError: no finished cell there, other weights than it was trained on, a delta that
            does not fit, or a method that is not allowed.
    """
    folder, device = Path(folder), device or best_device()
    check_card(device)
    if not (folder / RECORD).exists():
        raise InputError(f"there is no finished cell in {str(folder)!r}; `status` lists them")
    record = read_record(folder / RECORD)
    if not (folder / DELTA).exists():
        raise InputError(f"{str(folder)!r} holds a record without its {DELTA}; train it again")
    cell = record.cell
    check_code(cell.method, allowed)
    source = cell.backbone if weights is None else weights
    if (found := backbones.fingerprint(source)) != cell.weights:
        raise InputError(
            f"{source!r} has weights {found}, the cell was trained on {cell.weights}; "
            "name the right ones with --weights"
        )
    model, _ = assemble(cell, backbones.create(source, cell.image_size), card_of(record))
    with torch.enable_grad():  # what never reached the loss was not trained, so is not stored
        out = model.eval()(torch.zeros(1, 3, cell.image_size, cell.image_size)).sum()
        if out.requires_grad:
            out.backward()
    freeze_unreached(model, without_gradient(model))
    load_state(model, read_delta(folder, record))
    return Trained(record, model.to(device).eval(), device)


def card_of(record: Record) -> Card:
    """Return what a record keeps of its data set's card: name, task, classes, order."""
    data = record.data
    if not data.task or not data.classes:
        raise InputError(
            f"the record of {record.cell.slug} has no task and classes; train it again"
        )
    return Card(
        name=record.cell.dataset,
        task=data.task,
        classes=data.classes,
        modality="",
        licence="",
        citations=(),
        url="",
        ordinal=data.ordinal,
        synthetic=data.synthetic,
    )


def find(text: str, runs: Path) -> Path:
    """Return the folder of a cell: a path, or the first digits of its key below `runs`.

    Raises:
        InputError: where no cell or more than one cell fits.
    """
    if text and Path(text).is_dir():
        return Path(text)
    found = sorted(path.parent for path in runs.rglob(RECORD) if _key(path).startswith(text))
    if len(found) == 1:
        return found[0]
    what = "no finished cell" if not found else f"{len(found)} finished cells"
    raise InputError(f"{what} below {str(runs)!r} for {text!r}; give its folder or its key")


def _key(record: Path) -> str:
    return record.parent.name.rpartition("-")[2]
