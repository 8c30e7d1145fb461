"""BitFit: only the biases are trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods import families
from methods.base import Method, register

PAPER = Citation(
    ("Ben Zaken, Elad", "Goldberg, Yoav", "Ravfogel, Shauli"),
    "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
    2022,
    "Annual Meeting of the Association for Computational Linguistics",
    "inproceedings",
    arxiv="2106.10199",
)


@register("bitfit")
@dataclass(frozen=True)
class BitFit(Method):
    """Every additive bias, that of the patch embedding and of the norms included.

    Biases that timm keeps outside of a linear layer (EVA-02, BEiT, SwinV2: q and v) count as well.
    """

    display = "BitFit"
    family = "Selective"
    works = (PAPER,)
    passage = "eq. 2"
    lr = 2e-3
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Train the biases."""
        # not every bias is called `bias`: timm adds those of q and v outside of their layer
        for module, name in families.bias_owners(backbone):
            getattr(module, name).requires_grad_(True)

    def count(self, backbone: nn.Module) -> int:
        """Return the sum of the lengths of all biases."""
        return sum(getattr(m, name).numel() for m, name in families.bias_owners(backbone))

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: its weights are plain already."""
        return module
