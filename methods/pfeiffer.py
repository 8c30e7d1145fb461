"""Pfeiffer adapters: one bottleneck after the MLP of each block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Method, register
from methods.parts import adapters

PAPER = Citation(
    (
        "Pfeiffer, Jonas",
        "Kamath, Aishwarya",
        "Rücklé, Andreas",
        "Cho, Kyunghyun",
        "Gurevych, Iryna",
    ),
    "AdapterFusion: Non-Destructive Task Composition for Transfer Learning",
    2021,
    "Conference of the European Chapter of the Association for Computational Linguistics",
    "inproceedings",
    arxiv="2005.00247",
)


@register("pfeiffer")
@dataclass(frozen=True)
class Pfeiffer(Method):
    """`y + W_up relu(W_down y)` on the output y of the MLP, before the residual sum.

    Deviations: no extra layer norm; W_up starts at zero, as for every adapter here; width 32 on
    every backbone (d / 16 in the paper).
    """

    bottleneck: Count = 32

    display = "Pfeiffer adapter"
    family = "Adapters"
    works = (PAPER,)
    passage = "sec. 3 and fig. 3"
    lr = 1e-3

    def edit(self, backbone: nn.Module) -> None:
        """Add one adapter per block."""
        for block in families.blocks(backbone):
            # ReLU and one adapter after the MLP: the placement that the paper's search found best
            bottleneck = adapters.Bottleneck(families.width(block), self.bottleneck, "relu", 1)
            adapters.add(block, "mlp", seams.Serial, bottleneck)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack an MLP."""
        return adapters.missing(backbone, "mlp")

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d b + b + d, summed over blocks."""
        blocks = families.blocks(backbone)
        return sum(adapters.size(families.width(block), self.bottleneck) for block in blocks)
