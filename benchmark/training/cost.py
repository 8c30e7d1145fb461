"""What a cell costs: parameters, floating-point operations, memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.core.cell import Cell
from benchmark.training.fit import Setup
from benchmark.training.subset import Subset


@dataclass(frozen=True)
class Probe:
    """What `probe` found: GFLOP of training on one image, and the tensors that it froze."""

    gflop: float
    unreached: tuple[str, ...]


def probe_once(setup: Setup, train: Subset, cell: Cell, known: dict[Hashable, Probe]) -> float:
    """Do as `probe`; where `known` has a cell of this kind, freeze what was frozen then."""
    of_data = (cell.data, cell.output, cell.image_size, cell.precision)
    key = (cell.weights, cell.backbone, cell.method, *of_data)
    if key not in known:
        before = _trained(setup.model)
        gflop = probe(setup, train)
        known[key] = Probe(gflop, tuple(sorted(before - _trained(setup.model))))
    for name in known[key].unreached:
        setup.model.get_parameter(name).requires_grad_(False)
    return known[key].gflop


def _trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def probe(setup: Setup, train: Subset) -> float:
    """Freeze tensors that cannot reach the loss; return the GFLOP of training on one image.

    One forward and backward pass over two images in evaluation mode (no buffer moves). A tensor
    without a gradient, such as the final norm under a segmentation head, is neither trained nor
    counted. Counted are the matrix products and convolutions that torch's counter knows.
    """
    images, targets = train.load(np.arange(min(2, len(train))), setup.device)
    setup.model.eval()
    counter = FlopCounterMode(display=False)
    with counter:
        logits = setup.model(setup.normalize(images))
        loss = setup.task.loss(logits, targets)
        if loss.requires_grad:  # nearest neighbours train nothing
            loss.backward()
    freeze_unreached(setup.model)
    return counter.get_total_flops() / len(images) / 1e9


def freeze_unreached(model: nn.Module) -> None:
    """Freeze the tensors of `model` that the backward pass just done did not reach."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None


def training(cell: Cell, seconds: float, device: torch.device) -> dict[str, Any]:
    """Return the time of training, the images that went through in a second, and the memory."""
    rate = cell.steps * cell.batch_size / seconds
    return {"train_s": seconds, "images_per_s": rate, "peak_mib": peak_mib(device)}


def parameters(body: nn.Module, head: nn.Module) -> dict[str, Any]:
    """Return the counts of the method (`trainable_params`), the head, and the attached body."""
    trainable = sum(p.numel() for p in body.parameters() if p.requires_grad)
    return {
        "trainable_params": trainable,
        "head_params": sum(p.numel() for p in head.parameters()),
        "total_params": sum(p.numel() for p in body.parameters()),
    }


@dataclass(frozen=True)
class Size:
    """Number of parameters, and bytes of a stored copy with its buffers."""

    params: int
    bytes: int


def size_of(module: nn.Module) -> Size:
    """Return what `module` holds and what storing a full copy of it would take."""
    stored = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    return Size(sum(p.numel() for p in module.parameters()), stored)


def peak_mib(device: torch.device) -> float:
    """Return peak memory in MiB: of the device, or on the CPU of the whole process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
