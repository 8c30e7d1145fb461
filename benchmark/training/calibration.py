"""The training images that a method is shown before its first step, if it asks for any."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import methods
from benchmark.core.cell import Cell, seed
from benchmark.core.record import Calibration
from benchmark.core.registry import InputError
from benchmark.training.fit import Setup
from benchmark.training.head import Model
from benchmark.training.source import Batch, Source

# Images at once, whatever the batch of training: the choice does not hang on that axis, and is not
# what memory ends at (gradients of all weights, in single precision).
BATCH = 16


@dataclass(frozen=True)
class CalibrationBatches:
    """Batches of a cell's training images, unchanged, drawn by its seed; equal each time."""

    train: Source
    cell: Cell
    count: int
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        draws = torch.Generator().manual_seed(seed(self.cell, "calibration"))
        rows = torch.randperm(len(self.train), generator=draws)[: self.count]
        for part in rows.split(BATCH):
            yield self.train.still(part.numpy(), self.device)


def calibrate(setup: Setup, model: Model, train: Source, cell: Cell) -> Calibration | None:
    """Let the cell's method choose what it trains; a cell that goes on chooses the same again.

    In evaluation mode and single precision: what is chosen follows from the weights and the images
    alone. Returns None where nothing is to choose.

    Raises:
        InputError: the method trains other tensors than before.
    """
    method = methods.of_cell(cell)
    if not method.calibration_images:
        return None
    started = time.perf_counter()

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        return setup.task.loss(model(images), targets)

    before = methods.trainable(model.body).keys()
    model.eval()
    torch.manual_seed(seed(cell, "calibration"))
    batches = CalibrationBatches(train, cell, method.calibration_images, setup.device)
    method.calibrate(model.body, batches, loss)
    model.zero_grad(set_to_none=True)
    if changed := sorted(before ^ methods.trainable(model.body).keys()):
        raise InputError(
            f"{method} trains other tensors after its calibrate, such as {changed[0]}; a choice "
            "belongs into buffers that its edit registers"
        )
    count = min(method.calibration_images, len(train))
    return {"images": count, "seconds": time.perf_counter() - started}
