"""Mona: a multi-scale convolutional adapter on the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from methods import families
from methods.base import Count, Method, Share, register
from methods.parts import stream
from methods.parts.grid import on_grid
from methods.parts.starts import zero

PAPER = Citation(
    ("Yin, Dongshuo", "Hu, Leiyi", "Li, Bin", "Zhang, Youqun", "Yang, Xue"),
    "5%>100%: Breaking Performance Shackles of Full Fine-Tuning on Visual Recognition Tasks",
    2025,
    "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    "inproceedings",
    arxiv="2408.08345",
)

SIDES = (3, 5, 7)  # of the depthwise convolutions


class MonaAdapter(nn.Module):
    """`up(gelu(filter(down(s1 LN(x) + s2 x))))`, the filter a mean of three depthwise sizes."""

    def __init__(self, width: int, bottleneck: int, prefix: int, dropout: float) -> None:
        super().__init__()
        self.prefix, self.dropout = prefix, dropout
        self.norm = nn.LayerNorm(width)
        self.of_norm = nn.Parameter(torch.full((width,), 1e-6))
        self.of_input = nn.Parameter(torch.ones(width))
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.filters = nn.ModuleList(
            nn.Conv2d(bottleneck, bottleneck, side, padding=side // 2, groups=bottleneck)
            for side in SIDES
        )
        self.mix = nn.Conv2d(bottleneck, bottleneck, 1)
        zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the stream x (B, N, C) or (B, H, W, C)."""
        # the authors' two scales: nearly all of the input and almost none of the norm at first
        inner = self.down(self.norm(x) * self.of_norm + x * self.of_input)
        inner = F.gelu(on_grid(self._filtered, inner, self.prefix))
        return self.up(F.dropout(inner, self.dropout, self.training))

    def _filtered(self, maps: Tensor) -> Tensor:
        # residual around the filters, then around the mixing, as in the authors' code
        found = maps + torch.stack([layer(maps) for layer in self.filters]).mean(0)
        return found + self.mix(found)


@register("mona")
@dataclass(frozen=True)
class Mona(Method):
    """`x + Mona(x)` on the residual stream after attention and after the MLP (eq. 4-6).

    Deviation: the up-projection starts at zero (PyTorch's default in the authors' code), so that
    step 0 is the backbone. Images are square.
    """

    bottleneck: Count = 64
    dropout: Share = 0.1

    display = "Mona"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 4-6"
    lr = 1e-3

    def edit(self, backbone: nn.Module) -> None:
        """Add two adapters per block."""
        prefix = int(getattr(backbone, "num_prefix_tokens", 0))
        for block in families.blocks(backbone):
            sizes = (families.width(block), self.bottleneck, prefix, self.dropout)
            stream.change(block, MonaAdapter(*sizes), MonaAdapter(*sizes))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks have no attention."""
        return stream.missing(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 [4 d + (2 d b + b + d) + (9 + 25 + 49) b + 3 b + b^2 + b], over blocks."""
        b = self.bottleneck
        filters = sum(side * side for side in SIDES) * b + len(SIDES) * b + b * b + b
        widths = (families.width(block) for block in families.blocks(backbone))
        return sum(2 * (4 * d + 2 * d * b + b + d + filters) for d in widths)
