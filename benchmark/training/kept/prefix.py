"""The frozen blocks below the lowest trained tensor, replaced by what they made of each image.

The blocks stay in the model. Those whose output somebody reads return the kept one, those between
return their input; what lies before them sees an empty image, about a hundredth of the work.

Legend: B images, S image side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

import methods
from benchmark.core.cell import Cell
from benchmark.training.head import Model, Segmenter
from benchmark.training.kept.store import Shapes, parts
from methods import families, seams
from methods.parts.backbone import as_backbone


class Skipped:
    """A block that is passed by."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return `x`."""
        return x


class Replayed:
    """A block that returns what stands for it in `outputs`."""

    outputs: dict[int, Tensor]
    number: int

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the kept output."""
        return self.outputs[self.number]


class Prefix:
    """The blocks that no gradient reaches; `read` are the numbers of those whose output is read."""

    def __init__(self, model: Model, read: Sequence[int]) -> None:
        self.model, self.read = model, list(read)
        self.name = f"blocks {self.read}"

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the blocks that are read, of normalised `images` (B, 3, S, S)."""
        found = outputs(self.model, images)
        return [found[number] for number in self.read]

    def resume(self, shapes: Shapes, side: int) -> Model:
        """Change the blocks, and return the module that goes on from flat features to logits."""
        return Resumed(self.model, self.read, shapes, side)


class Resumed(Model):
    """`model` from the outputs of its lower blocks on: flat features (B, F) to logits.

    Its own body is empty: the whole model is beside it, and is run from an empty image on.
    """

    def __init__(self, model: Model, read: list[int], shapes: Shapes, side: int) -> None:
        super().__init__(nn.Identity(), model.head)
        self.model = model
        self._read, self._shapes, self._side = read, shapes, side
        self._outputs: dict[int, Tensor] = {}
        for number, block in enumerate(families.blocks(model.body)[: read[-1] + 1]):
            if number in read:
                seams.extend(block, Replayed, outputs=self._outputs, number=number)
            else:
                seams.extend(block, Skipped)

    def compilable(self) -> list[nn.Module]:
        """Return the blocks that still run in a step, those above the kept ones."""
        return families.blocks(self.model.body)[self._read[-1] + 1 :]

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the features (B, F) that stand for `images`."""
        kept = parts(images, self._shapes)
        self._outputs.update(zip(self._read, kept, strict=True))
        empty = images.new_zeros(len(images), 3, self._side, self._side)
        logits: Tensor = self.model(empty)
        self._outputs.clear()
        return logits


def find(model: Model, cell: Cell) -> Prefix | None:
    """Return the prefix of `model` that no gradient reaches, or None.

    The method must have said what of the frozen blocks it reads (`Method.reads`). One image tells
    which outputs depend on a trained tensor; to be called under the autocast of the cell.
    """
    reads = methods.of_cell(cell).reads
    if not reads:
        return None
    device = next(model.parameters()).device
    model.eval()
    found = outputs(model, torch.zeros(1, 3, cell.image_size, cell.image_size, device=device))
    frozen = 0
    while frozen in found and not found[frozen].requires_grad:
        frozen += 1
    if not frozen or (reads == "maps" and _has_stem_map(model.body)):
        return None
    levels = _levels(model, every=reads == "maps")
    return Prefix(model, sorted({frozen - 1} | {level for level in levels if level < frozen}))


def outputs(model: Model, images: Tensor) -> dict[int, Tensor]:
    """Return what each block made of `images`, by number."""
    found: dict[int, Tensor] = {}

    def note(number: int) -> Any:
        return lambda module, inputs, out: found.__setitem__(number, out)

    with ExitStack() as stack:
        for number, block in enumerate(families.blocks(model.body)):
            stack.callback(block.register_forward_hook(note(number)).remove)
        model.encode(images)
    return found


def _has_stem_map(body: nn.Module) -> bool:
    """Return whether a map is read from before the blocks (ResNet)."""
    stages = families.stages(body)
    num_levels = len(stages) if len(stages) > 1 else len(stages[0])
    return len(as_backbone(body).feature_info) > num_levels


def _levels(model: Model, *, every: bool) -> list[int]:
    """Return the numbers of the blocks whose outputs are dense features that are read."""
    stages = families.stages(model.body)
    if len(stages) > 1:
        ends, end = [], 0
        for stage in stages:
            end += len(stage)
            ends.append(end - 1)
        return ends if every or isinstance(model, Segmenter) else []
    if every:
        return list(range(len(stages[0])))
    return list(model.levels) if isinstance(model, Segmenter) else []
