"""ARC: one pair of projections for all layers, re-scaled by a vector in each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families
from methods.base import Count, Method, register
from methods.parts import adapters
from methods.parts.inputs import AdaptedInput

PAPER = Citation(
    ("Dong, Wei", "Yan, Dawei", "Lin, Zhijun", "Wang, Peng"),
    "Efficient Adaptation of Large Vision Transformer via Adapter Re-Composing",
    2023,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2310.06234",
)


class Recomposed(nn.Module):
    """`x + (x D) diag(c) D^T + b`, D (d, h) shared by layers, c and b zero at the start."""

    def __init__(self, shared: nn.Parameter) -> None:
        super().__init__()
        width, inner = shared.shape
        self.shared = shared
        # zero scales, while the shared matrix is random: the scales get a gradient at once
        self.scales, self.bias = nn.Parameter(torch.zeros(inner)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted input (..., C)."""
        return x + (x @ (self.shared * self.scales)) @ self.shared.T + self.bias


@register("arc")
@dataclass(frozen=True)
class ARC(Method):
    """Re-scaled shared bottlenecks before attention and MLP (eq. 4-5), up = down transposed.

    One D for attention and one for the MLP of all blocks of a stage. Deviations: without the
    authors' dropout; the scales of the MLP start at zero as those of attention do (Xavier in their
    code), so that step 0 is the backbone; in Swin, too, the MLP's adapter reads what the norm gives
    (their Swin adapts the stream before it).
    """

    bottleneck: Count = 50

    display = "ARC"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 4-5"
    lr = 2e-3

    def edit(self, backbone: nn.Module) -> None:
        """Share two projections within each stage."""
        # within a stage only: across stages of Swin or PVT the width changes
        for stage in families.stages(backbone):
            for branch in adapters.BRANCHES:
                shared = nn.Parameter(torch.empty(families.width(stage[0]), self.bottleneck))
                nn.init.xavier_uniform_(shared)
                for block in stage:
                    adapters.add(block, branch, AdaptedInput, Recomposed(shared))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack attention or MLP."""
        return adapters.missing(backbone, *adapters.BRANCHES, reads_input=True)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 [d h + L (h + d)], summed over stages of L blocks."""
        h = self.bottleneck
        stages = [(families.width(s[0]), len(s)) for s in families.stages(backbone)]
        return sum(2 * (d * h + length * (h + d)) for d, length in stages)
