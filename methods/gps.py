"""GPS: of every neuron the input connections with the largest gradients are trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from methods import families, seams
from methods.base import Batches, Count, Loss, Method, OneOf, register
from methods.norm import NORMS
from methods.parts.updates import frozen_weight

PAPER = Citation(
    (
        "Zhang, Zhi",
        "Zhang, Qizhe",
        "Gao, Zijun",
        "Zhang, Renrui",
        "Shutova, Ekaterina",
        "Zhou, Shiji",
        "Zhang, Shanghang",
    ),
    "Gradient-based Parameter Selection for Efficient Fine-Tuning",
    2024,
    "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    "inproceedings",
    arxiv="2312.10136",
)

LOSSES = ("contrastive", "task")
TEMPERATURE = 0.07  # of the contrastive loss, as in the authors' code


class SparseWeight(seams.Extension):
    """A layer whose frozen weight gets trained `values` (out, K) at `places` (out, K) of its rows.

    A row is one neuron: of a convolution, all that reads one window for one output channel.
    """

    values: nn.Parameter
    places: Tensor

    @property
    def base_weight(self) -> Tensor:
        """Return the frozen weight (out, ...)."""
        return frozen_weight(self)

    @property
    def weight(self) -> Tensor:
        """Return the effective weight (out, ...)."""
        base = self.base_weight
        added = torch.zeros_like(base).flatten(1).scatter(1, self.places.long(), self.values)
        return base + added.view_as(base)


@register("gps")
@dataclass(frozen=True)
class GPS(Method):
    """W' = W + S, S with K entries in each row: those whose loss gradients are largest in size.

    In every linear layer and convolution of the network, whose biases are all trained too, as in
    the authors' code (theirs takes LayerScale and Swin's table of relative positions along). The
    gradients are summed over training images: of the contrastive loss of Khosla et al. 2020
    (arXiv:2004.11362, eq. 2) on the pooled features, which needs no head, or of the task's own
    under its untrained head; the latter always where an image has no single class. Deviations: the
    authors show all training images, each twice and changed at random; here at most 512 are seen,
    once and unchanged. A training step costs the dense gradients of `full`.
    """

    connections: Count = 1
    loss: Annotated[str, OneOf(LOSSES)] = "contrastive"

    display = "GPS"
    family = "Sparse"
    works = (PAPER,)
    passage = "sec. 3"
    lr = 1.5e-3
    mergeable = True
    calibration_images = 512

    def edit(self, backbone: nn.Module) -> None:
        """Give each layer its values, at its first places until `calibrate` has chosen others."""
        for layer in list(_layers(backbone)):
            weight = layer.weight.flatten(1)
            num = min(self.connections, weight.shape[1])
            seams.extend(layer, SparseWeight, values=nn.Parameter(torch.zeros(len(weight), num)))
            places = torch.arange(num, dtype=torch.int32).repeat(len(weight), 1)
            layer.register_buffer("places", places)
        for bias in _biases(backbone):
            bias.requires_grad_(True)

    def calibrate(self, backbone: nn.Module, batches: Batches, loss: Loss) -> None:
        """Put the values where the gradients of the frozen weights are largest in size."""
        layers = [m for m in backbone.modules() if isinstance(m, SparseWeight)]
        weights = [layer.base_weight for layer in layers]
        totals = [torch.zeros_like(weight) for weight in weights]
        found = False
        for weight in weights:
            weight.requires_grad_(True)
        for images, targets in batches:
            if self.loss == "contrastive" and targets.ndim == 1:
                value = contrastive(backbone(images), targets)
            else:
                value = loss(images, targets)
            if value is None:  # a batch without two images of one class
                continue
            found = True
            gradients = torch.autograd.grad(value, weights, allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:  # such as of a norm's layer that the head does not read
                    total += gradient
        for weight in weights:
            weight.requires_grad_(False)
        if not found:
            raise InputError(
                "gps found no two training images of one class in a batch, which its contrastive "
                "loss needs; write gps(loss=task), or take larger batches or more labels"
            )
        for layer, total in zip(layers, totals, strict=True):
            # stable: of equal gradients, such as zeros, the first are taken on every device
            order = total.abs().flatten(1).argsort(dim=1, descending=True, stable=True)
            layer.places.copy_(order[:, : layer.values.shape[1]])

    def count(self, backbone: nn.Module) -> int:
        """Return K (or a row's length, where that is less) a row, and the biases."""
        values = sum(
            len(layer.weight) * min(self.connections, layer.weight[0].numel())
            for layer in _layers(backbone)
        )
        return values + sum(bias.numel() for bias in _biases(backbone))

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights and take the values away."""
        for layer in [m for m in module.modules() if isinstance(m, SparseWeight)]:
            layer.base_weight.data.copy_(layer.weight)
            seams.restore(layer, "values", "places")
        return module


def contrastive(features: Tensor, classes: Tensor) -> Tensor | None:
    """Return the supervised contrastive loss of features (B, D), or None without any pair.

    The mean over images i that share a class with others P(i) of
    -mean_{p in P(i)} log(exp(z_i z_p / T) / sum_{a != i} exp(z_i z_a / T)), z of unit length.
    """
    z = F.normalize(features, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    pairs = (classes[:, None] == classes) & ~itself
    num = pairs.sum(1)
    if not num.any():
        return None
    shares = logits.log_softmax(1).masked_fill(~pairs, 0).sum(1) / num.clamp(min=1)
    return -shares[num > 0].mean()


def _layers(backbone: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    """Yield the layers whose rows are neurons."""
    yield from (m for m in backbone.modules() if isinstance(m, nn.Linear | nn.Conv2d))


def _biases(backbone: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the biases, but those of norms."""
    for module, name in families.bias_owners(backbone):
        if not isinstance(module, NORMS):
            yield getattr(module, name)
