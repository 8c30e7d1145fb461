"""Convpass: a convolutional bypass beside attention and MLP."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.base import Method, positive, register
from methods.parts import adapters, lean
from methods.parts.bottlenecks import quick_gelu


class Bypass(nn.Module):
    """`scale * up(act(conv3x3(act(down(x)))))` over the square grid of the patch tokens.

    Each prefix token is a map of its own of one pixel. The convolution starts as the identity, the
    up-projection at zero.
    """

    def __init__(self, width: int, bottleneck: int, prefix: int, scale: float) -> None:
        super().__init__()
        self.prefix, self.scale = prefix, scale
        self.down = nn.Linear(width, bottleneck)
        self.conv = nn.Conv2d(bottleneck, bottleneck, 3, padding=1)
        self.up = nn.Linear(bottleneck, width)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bypass of tokens (B, N, C) or of a map (B, H, W, C)."""
        hidden = quick_gelu(self.down(x))
        return self.scale * self.up(quick_gelu(self._mix(hidden)))

    def onto(self, base: Tensor, x: Tensor) -> Tensor:
        """Return `base` plus the bypass of `x`, leaner than the sum."""
        hidden = quick_gelu(lean.linear(x, self.down.weight, self.down.bias))
        return lean.add_up(base, quick_gelu(self._mix(hidden)), self.up, self.scale)

    def _mix(self, hidden: Tensor) -> Tensor:
        if hidden.ndim == 4:
            return self.conv(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        prefix, patches = hidden[:, : self.prefix], hidden[:, self.prefix :]
        side = math.isqrt(patches.shape[1])
        grid = patches.transpose(1, 2).unflatten(2, (side, side))
        mixed = self.conv(grid).flatten(2).transpose(1, 2)
        if not self.prefix:
            return mixed
        pixels = self.conv(prefix.flatten(0, 1)[..., None, None]).view_as(prefix)
        return torch.cat([pixels, mixed], 1)


@register("convpass")
@dataclass(frozen=True)
class Convpass(Method):
    """`MHSA(LN x) + s Convpass(LN x)`, and the same beside the MLP (eq. 5-6).

    In Swin the grid beside attention is the window; images are square.
    """

    bottleneck: int = 8
    scale: float = 1.0

    paper = "Jie and Deng 2022, Convolutional Bypasses, arXiv 2207.07039, eq. 5-6"
    lr = 1e-3

    def __post_init__(self) -> None:
        positive(bottleneck=self.bottleneck)

    def edit(self, backbone: nn.Module) -> None:
        """Add two bypasses per block."""
        prefix = int(getattr(backbone, "num_prefix_tokens", 0))
        for block in families.blocks(backbone):
            for branch in ("attn", "mlp"):
                bypass = Bypass(families.width(block), self.bottleneck, prefix, self.scale)
                adapters.add(block, branch, seams.Parallel, bypass)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack attention or MLP."""
        return adapters.missing(backbone, "attn", "mlp")

    def count(self, backbone: nn.Module) -> int:
        """Return 2 [(d h + h) + (9 h^2 + h) + (h d + d)], summed over blocks."""
        h = self.bottleneck
        widths = [families.width(block) for block in families.blocks(backbone)]
        return sum(2 * ((d * h + h) + (9 * h * h + h) + (h * d + d)) for d in widths)
