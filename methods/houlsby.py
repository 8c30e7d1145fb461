"""Houlsby adapters: a bottleneck after the attention and one after the MLP of each block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Method, register
from methods.parts import adapters

PAPER = Citation(
    (
        "Houlsby, Neil",
        "Giurgiu, Andrei",
        "Jastrzebski, Stanislaw",
        "Morrone, Bruna",
        "de Laroussilhe, Quentin",
        "Gesmundo, Andrea",
        "Attariyan, Mona",
        "Gelly, Sylvain",
    ),
    "Parameter-Efficient Transfer Learning for NLP",
    2019,
    "International Conference on Machine Learning",
    "inproceedings",
    arxiv="1902.00751",
)


@register("houlsby")
@dataclass(frozen=True)
class Houlsby(Method):
    """`y + W_up gelu(W_down y)` on the output y of both branches, before the residual sum.

    Deviations: W_up starts at zero and W_down random (both near zero in the paper), so that step 0
    is exactly the backbone; the norms are not trained; width 16 (64 in the paper).
    """

    bottleneck: Count = 16

    display = "Houlsby adapter"
    family = "Adapters"
    works = (PAPER,)
    passage = "fig. 2"
    lr = 3e-3

    def edit(self, backbone: nn.Module) -> None:
        """Add two adapters per block."""
        for block in families.blocks(backbone):
            for branch in adapters.BRANCHES:
                bottleneck = adapters.Bottleneck(families.width(block), self.bottleneck, "gelu", 1)
                # serial, on the branch's output before the residual sum: the paper's figure 2
                adapters.add(block, branch, seams.Serial, bottleneck)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack attention or MLP."""
        return adapters.missing(backbone, *adapters.BRANCHES)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 (2 d b + b + d), summed over blocks."""
        blocks = families.blocks(backbone)
        return sum(2 * adapters.size(families.width(b), self.bottleneck) for b in blocks)
