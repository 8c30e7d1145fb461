"""Convpass: a convolutional bypass beside attention and MLP."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Factor, Method, Range, Share, later, register
from methods.parts import adapters, lean
from methods.parts.bottlenecks import quick_gelu
from methods.parts.grid import on_grid
from methods.parts.starts import zero

PAPER = Citation(
    ("Jie, Shibo", "Deng, Zhi-Hong"),
    "Convolutional Bypasses Are Better Vision Transformer Adapters",
    2022,
    arxiv="2207.07039",
)


class Bypass(nn.Module):
    """`scale * up(act(conv3x3(act(down(x)))))` over the square grid of the patch tokens.

    Each prefix token is a map of its own of one pixel. The convolution starts as the identity, the
    up-projection at zero. `dropout` drops what enters the up-projection in training.
    """

    def __init__(
        self, width: int, bottleneck: int, prefix: int, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.prefix, self.scale, self.dropout = prefix, scale, dropout
        self.down = nn.Linear(width, bottleneck)
        self.conv = nn.Conv2d(bottleneck, bottleneck, 3, padding=1)
        self.up = nn.Linear(bottleneck, width)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        zero(self.conv)
        # the identity: at first the bypass is an ordinary bottleneck
        nn.init.dirac_(self.conv.weight)
        zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bypass of tokens (B, N, C) or of a map (B, H, W, C)."""
        return self.scale * self.up(self._inner(self.down(x)))

    def onto(self, base: Tensor, x: Tensor) -> Tensor:
        """Return `base` plus the bypass of `x`, leaner than the sum."""
        hidden = lean.linear(x, self.down.weight, self.down.bias)
        return lean.add_up(base, self._inner(hidden), self.up, self.scale)

    def _inner(self, hidden: Tensor) -> Tensor:
        mixed = quick_gelu(on_grid(self.conv, quick_gelu(hidden), self.prefix))
        return nn.functional.dropout(mixed, self.dropout, self.training)


@register("convpass")
@dataclass(frozen=True)
class Convpass(Method):
    """`MHSA(LN x) + s Convpass(LN x)`, and the same beside the MLP (eq. 5-6).

    In Swin the grid beside attention is the window; images are square. The convolution starts as
    the identity, as in 9 of the authors' 19 tasks (Xavier in the others); they tune s per task.
    """

    bottleneck: Count = 8
    scale: Factor = 1.0
    dropout: Share = later(0.1, recorded=0.0)

    display = "Convpass"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 5-6"
    lr = 1e-3
    ranges = (
        Range("scale", 0.01, 100, "the authors' search per task, github.com/JieShibo/PETL-ViT"),
    )

    def edit(self, backbone: nn.Module) -> None:
        """Add two bypasses per block."""
        prefix = int(getattr(backbone, "num_prefix_tokens", 0))
        for block in families.blocks(backbone):
            for branch in adapters.BRANCHES:
                width = families.width(block)
                bypass = Bypass(width, self.bottleneck, prefix, self.scale, self.dropout)
                adapters.add(block, branch, seams.Parallel, bypass)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack attention or MLP."""
        return adapters.missing(backbone, *adapters.BRANCHES, reads_input=True)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 [(d h + h) + (9 h^2 + h) + (h d + d)], summed over blocks."""
        h = self.bottleneck
        widths = [families.width(block) for block in families.blocks(backbone)]
        return sum(2 * ((d * h + h) + (9 * h * h + h) + (h * d + d)) for d in widths)
