"""Adapter+: one adapter at the end of each block, with a trained scale per channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families
from methods.base import Count, Method, register
from methods.parts import adapters, stream

PAPER = Citation(
    ("Steitz, Jan-Martin O.", "Roth, Stefan"),
    "Adapters Strike Back",
    2024,
    "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    "inproceedings",
    arxiv="2406.06820",
)


class ChannelScaled(adapters.Bottleneck):
    """`c * (W_up gelu(W_down x))`, c one value per channel, ones at the start."""

    def __init__(self, width: int, bottleneck: int, *, channels_first: bool) -> None:
        super().__init__(width, bottleneck)
        self.channels_first = channels_first
        # the paper's Houlsby start but for W_up, which is zero for an exact step 0
        nn.init.trunc_normal_(self.down.weight, std=0.01, a=-0.02, b=0.02)
        self.channels = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapter's output for `x`, in the layout of `x`."""
        out = self.channels * super().forward(x.movedim(1, -1) if self.channels_first else x)
        return out.movedim(-1, 1) if self.channels_first else out


@register("adapter_plus")
@dataclass(frozen=True)
class AdapterPlus(Method):
    """`o + c * Adapter(o)` on the output o of each block (sec. 3.3): "Post" position, no norm.

    Deviation: W_up starts at zero, and W_down at a standard deviation of .01 as in the paper. No
    stochastic depth of the adapter (.1 in the paper).
    """

    bottleneck: Count = 8

    display = "Adapter+"
    family = "Adapters"
    works = (PAPER,)
    passage = "sec. 3"
    lr = 2e-3

    def edit(self, backbone: nn.Module) -> None:
        """Add one adapter per block."""
        for block in families.blocks(backbone):
            maps = families.residual(block) == "block"  # ConvNeXt: (B, C, H, W)
            sizes = (families.width(block), self.bottleneck)
            stream.change(block, None, ChannelScaled(*sizes, channels_first=maps))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where the family of the blocks is unknown, or they are convolutions."""
        return adapters.missing(backbone, "mlp")

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d b + b + 2 d, summed over blocks."""
        widths = [families.width(block) for block in families.blocks(backbone)]
        return sum(adapters.size(width, self.bottleneck) + width for width in widths)
