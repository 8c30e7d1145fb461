"""One pass of a cell before its training: the work of a step, and which tensors reach the loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.backbones.shared import marks
from benchmark.core.cell import Cell
from benchmark.core.registry import InputError
from benchmark.training.fit import Setup
from benchmark.training.head import Model
from benchmark.training.source import Source


@dataclass(frozen=True)
class FirstPass:
    """GFLOP of training on one image, and the trained tensors that no gradient reaches."""

    gflop: float
    unreached: tuple[str, ...]


def first_pass_once(
    setup: Setup, model: Model, train: Source, cell: Cell, known: dict[Hashable, FirstPass]
) -> FirstPass:
    """Return the first pass of a cell, the same for cells that differ in seeds, rates or labels."""
    of_data = (cell.data, cell.output, cell.image_size, cell.precision)
    key = (cell.weights, cell.backbone, cell.method, *of_data)
    if key not in known:
        known[key] = first_pass(setup, model, train, cell.method)
    return known[key]


def first_pass(setup: Setup, model: Model, train: Source, method: str) -> FirstPass:
    """Return what one forward and backward pass over two images shows.

    In evaluation mode: no buffer moves. Counted are the matrix products and convolutions that
    torch's counter knows.

    Raises:
        InputError: the head is made for features of another width, or the pass itself changes what
            is not trained.
    """
    images, targets = train.still(np.arange(min(2, len(train))), setup.device)
    model.eval()
    check = untouched(model, method)
    counter = FlopCounterMode(display=False)
    with counter:
        features = model.encode(images)
        _check_width(model, features[0], method)
        loss = setup.task.loss(model.decide(features, images.shape[-1]), targets)
        if loss.requires_grad:  # nearest neighbours train nothing
            loss.backward()
    check()
    unreached = without_gradient(model)
    return FirstPass(counter.get_total_flops() / len(images) / 1e9, unreached)


def _check_width(model: Model, features: Tensor, method: str) -> None:
    """Refuse features that a linear head cannot read, before torch does so in its own words."""
    wanted = getattr(model.head, "in_features", None)
    if wanted is not None and features.shape[1:] != (wanted,):
        raise InputError(
            f"{method} gives pooled features of shape {tuple(features.shape[1:])}, though they are "
            f"said to be {wanted} wide: return their width from num_features(self, backbone)"
        )


def without_gradient(model: nn.Module) -> tuple[str, ...]:
    """Return the trained tensors that the last backward pass did not reach; forget gradients."""
    found = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    return tuple(found)


def untouched(model: Model, method: str) -> Callable[[], None]:
    """Return a check that the method has left alone in the meantime what it does not train.

    Raises:
        InputError: (the returned function) a parameter was made, or a frozen one written to; a
            reloaded delta would hold neither.
    """
    known = dict(model.body.named_parameters())
    frozen = [p for p in known.values() if not p.requires_grad]
    before = marks(frozen)

    def check() -> None:
        if late := sorted(dict(model.body.named_parameters()).keys() - known.keys()):
            raise InputError(
                f"{method} makes {', '.join(late[:3])} when it is called, unknown to its "
                "count and to a reloaded delta: make parameters in edit"
            )
        if marks(frozen) != before:
            raise InputError(
                f"{method} writes to frozen weights while it runs, which a reloaded delta "
                "would not hold: train them, or leave them alone"
            )

    return check


LOOKED = 3  # steps: LoRA's A gets its first gradient in the second, when B is no longer zero


def watched(
    model: Model, own: Collection[int], cell: Cell, on_step: Callable[[int], object]
) -> Callable[[int], object]:
    """Return `on_step` that also refuses a method with tensors whose gradients are all zero.

    Such as an adapter that is multiplied by 0: it reaches the loss and is never trained. Looked at
    are the tensors that the method added, after each of the first `LOOKED` steps. A tensor that
    moves in one block is no fault in another: a narrow adapter's ReLU may be off for all images.

    Raises:
        InputError: (the returned function) names the tensors.
    """
    named = model.body.named_parameters()
    silent = {n: p for n, p in named if p.requires_grad and id(p) not in own}

    def listen(step: int) -> object:
        if silent and step <= LOOKED:
            grads = {n: p.grad for n, p in silent.items() if p.grad is not None}
            moved = torch.stack([g.any() for g in grads.values()]).tolist() if grads else []
            alive = {_in_any_block(n) for n, some in zip(grads, moved, strict=True) if some}
            for name in [n for n in silent if _in_any_block(n) in alive]:
                del silent[name]
            if step == LOOKED and silent:
                names = ", ".join(list(silent)[:3])
                raise InputError(
                    f"{cell.method} counts {len(silent)} trained tensors whose gradients are all "
                    f"zero in the first {LOOKED} steps, such as {names}; they would never be "
                    "trained: mend the method's edit or its start"
                )
        return on_step(step)

    return listen


def _in_any_block(name: str) -> str:
    """Return the name of a tensor without the numbers of blocks, equal for what repeats in each."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def freeze_unreached(model: nn.Module, names: Collection[str]) -> None:
    """Freeze these tensors of `model`: they would be counted and stored, and never move.

    Such as the final norm, which a segmentation head does not read.
    """
    for name in names:
        model.get_parameter(name).requires_grad_(False)


def check_reached(
    model: Model, unreached: Collection[str], own: Collection[int], cell: Cell
) -> None:
    """Refuse a method with tensors that can never be trained, whichever head reads the backbone.

    What this head does not read is fine where the other one would: both the pooled features and
    the maps of all levels are tried. `own` are the ids of the backbone's parameters from before the
    method: one of them may be without use in the network itself, unless it is all that is trained.

    Raises:
        InputError: names the tensors; the cell would be a linear probe with another name.
    """
    if not unreached:
        return
    images = torch.zeros(1, 3, cell.image_size, cell.image_size)
    model.eval()
    images = images.to(next(model.parameters()).device)
    pooled = model.body(images).float().sum()
    maps = model.body.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
    total = pooled + sum(level.float().sum() for level in maps)
    if total.requires_grad:
        total.backward()
    dead = {name for name in without_gradient(model) if name.startswith("body.")}
    trained = {n for n, p in model.body.named_parameters("body") if p.requires_grad}
    added = {n for n, p in model.body.named_parameters("body") if id(p) not in own}
    if wrong := sorted((dead & added) or (dead if trained <= dead else set())):
        names = ", ".join(name.removeprefix("body.") for name in wrong[:3])
        raise InputError(
            f"{cell.method} counts {len(wrong)} trained tensors that no output of {cell.backbone} "
            f"depends on, such as {names}; they would never be trained: mend the method's edit"
        )
