"""What the checks share: images, a seeded attached backbone, and a few real training steps.

Legend: B images, S image side.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import methods
from benchmark.training.fit import set_mode
from methods import Method
from methods.parts.backbone import as_backbone

Maker = Callable[[], nn.Module]
SIDE, BATCH, CLASSES = 64, 4, 3
STEPS = 3


def images(number: int = 0, count: int = BATCH) -> Tensor:
    """Return seeded images (B, 3, S, S)."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(number))


def attached(
    method: Method, make: Maker, calibrated_on: int | None = 0, seed: int = 1
) -> nn.Module:
    """Return a fresh backbone with the method attached, seeded.

    A method that chooses by training images has seen random ones, of this number; None: none yet.
    """
    backbone = make()
    torch.manual_seed(seed)
    # a count that is wrong is one fault of its own, and hides no other
    body = method.attach(backbone, counted=False).eval()
    if method.calibration_images and calibrated_on is not None:
        labels = torch.arange(BATCH) % (CLASSES - 1)  # so that some share a class
        # noise with another contrast and brightness for each number, so that choices can differ
        shown = [images(100 + i) * 4**calibrated_on + 4 * calibrated_on for i in range(2)]
        batches = [(x, labels) for x in shown]
        method.calibrate(body, batches, lambda x, targets: _loss_of(body, x, targets))
    return body


def dense(body: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the feature maps that segmentation reads."""
    network = as_backbone(body)
    return network.forward_intermediates(x, output_fmt="NCHW", intermediates_only=True)


def trained(method: Method, make: Maker, steps: int = STEPS) -> tuple[nn.Module, dict[str, bool]]:
    """Return the body after real optimiser steps, and which tensors ever had a gradient.

    The harness's mode and optimiser; a seeded random head stays frozen, so that what moves the
    loss is the method. The loss reads pooled features and dense ones, as the two tasks do.
    """
    body, alive = _trained(method, make, steps)
    return copy.deepcopy(body), alive


# eight checks begin with the same training: it is done once for a method and a maker of backbones
@functools.lru_cache(maxsize=4)
def _trained(method: Method, make: Maker, steps: int) -> tuple[nn.Module, dict[str, bool]]:
    body = attached(method, make)
    trainable = methods.trainable(body)
    alive = dict.fromkeys(trainable, False)
    optimizer = torch.optim.AdamW(trainable.values(), lr=1e-2) if trainable else None
    for step in range(steps if optimizer else 0):
        set_mode(body, method.live_batch_norm)
        torch.manual_seed(step)
        value = loss(body, step)
        if value.requires_grad:  # a method whose tensors are never used has no graph
            value.backward()
        for name, parameter in trainable.items():
            alive[name] |= parameter.grad is not None and bool(parameter.grad.any())
        assert optimizer is not None
        optimizer.step()
        optimizer.zero_grad()
    return body.eval(), alive


def loss(body: nn.Module, number: int = 0, count: int = BATCH) -> Tensor:
    """Return a loss over both kinds of output, under random frozen heads."""
    return _loss_of(body, images(number, count), torch.arange(count) % CLASSES)


def _loss_of(body: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    pooled = body(x)
    generator = torch.Generator().manual_seed(7)
    head = torch.randn(pooled.shape[1], CLASSES, generator=generator)
    total = F.cross_entropy(pooled @ head, targets)
    for level in dense(body, x):
        row = torch.randn(level.shape[1], generator=generator)
        total = total + torch.einsum("bchw,c->bhw", level, row).tanh().mean()
    return total
