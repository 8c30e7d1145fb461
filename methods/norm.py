"""Norm tuning: scale and shift of every normalisation layer are trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods.base import Method, register

PAPER = Citation(
    ("Basu, Samyadeep", "Hu, Shell", "Massiceti, Daniela", "Feizi, Soheil"),
    "Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning",
    2024,
    "AAAI Conference on Artificial Intelligence",
    "inproceedings",
    arxiv="2304.01917",
)

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def affine(backbone: nn.Module) -> Iterator[nn.Parameter]:
    """Yield scale and shift of every normalisation layer."""
    for module in backbone.modules():
        if isinstance(module, NORMS):
            # its own only: timm's norms with an activation hold other layers
            yield from module.parameters(recurse=False)


@register("norm")
@dataclass(frozen=True)
class Norm(Method):
    """Affine parameters of layer, group and batch norm; running statistics stay as they are."""

    display = "LN-tune"
    family = "Selective"
    works = (PAPER,)
    passage = "sec. 3"
    lr = 2e-3
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Train the norms."""
        for parameter in affine(backbone):
            parameter.requires_grad_(True)

    def count(self, backbone: nn.Module) -> int:
        """Return twice the sum of the norms' widths (once where a norm has no shift)."""
        return sum(p.numel() for p in affine(backbone))

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: its weights are plain already."""
        return module
