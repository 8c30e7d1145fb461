"""The modules of DVPT. Not a method itself.

Legend: B images, N tokens, d width of the backbone, r bottleneck, m prompts, g gate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.parts import lean


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


def attend(queries: Tensor, keys: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(r)) K: (B, m, r) from (B, m, r) and (B, N, r)."""
    weights = (queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(-1)
    return weights @ keys


class GatedBottleneck(nn.Module):
    """`g (Y W_u + b_u)` with Z = QuickGELU(u W_d + b_d) and Y = `mix(Z)`; here Y = Z.

    g starts at 0 and W_u random: with both 0 everything would stay dead.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.gate = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def mix(self, z: Tensor, last: bool) -> Tensor:
        """Return Y (B, N, r); `last` says that no block will read the prompt rows."""
        return z

    def forward(self, base: Tensor, u: Tensor, last: bool = False) -> Tensor:
        """Return `base` (B, N, d) plus what the module makes of the residual u (B, N, d)."""
        z = quick_gelu(lean.linear(u, self.down.weight, self.down.bias))
        return lean.add_up(base, self.mix(z, last), self.up, self.gate)


class RowsBottleneck(GatedBottleneck):
    """The prompt rows of Z attend over its other rows and are replaced by what they read."""

    def __init__(self, width: int, bottleneck: int, position: int, prompts: int) -> None:
        super().__init__(width, bottleneck)
        self.start, self.stop = position, position + prompts

    def mix(self, z: Tensor, last: bool) -> Tensor:
        """Return Z with prompt rows A; in the last block nobody reads them, so they stay."""
        if last:
            return z
        before, queries, after = z[:, : self.start], z[:, self.start : self.stop], z[:, self.stop :]
        read = attend(queries, torch.cat([before, after], 1))
        return torch.cat([before, read, after], 1)


class AttendBottleneck(GatedBottleneck):
    """Learnable queries read sample-specific prompts A from Z, every token reads them back."""

    def __init__(self, width: int, bottleneck: int, prompts: int) -> None:
        super().__init__(width, bottleneck)
        self.queries = nn.Parameter(torch.randn(prompts, bottleneck))

    def mix(self, z: Tensor, last: bool) -> Tensor:
        """Return Y = Z + softmax(Z A^T / sqrt(r)) A."""
        return z + attend(z, attend(self.queries, z))


class BesideMLP:
    """A block whose output gets `module(u)`, u the residual that enters its MLP sub-layer."""

    dynamic: nn.Module
    place: families.Residual
    last: bool

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the block's output plus the module's; maps keep their layout."""
        out = super().forward(x, *args, **kwargs)  # type: ignore[misc]
        u = x if self.place == "block" else seams.take(getattr(self, self.place))
        if self.place == "block":  # ConvNeXt: (B, d, H, W), channels last inside the module
            base, rows = (t.flatten(2).transpose(1, 2) for t in (out, u))
            return self.dynamic(base, rows, self.last).transpose(1, 2).reshape(out.shape)
        base, rows = (t.reshape(len(t), -1, t.shape[-1]) for t in (out, u))
        return self.dynamic(base, rows, self.last).reshape(out.shape)


def put_beside_mlp(block: nn.Module, module: nn.Module, last: bool = False) -> None:
    """Add `module` to the block's output, reading the residual that enters its MLP."""
    place = families.residual(block)
    if place != "block":
        seams.extend(getattr(block, place), seams.Tap)
    seams.extend(block, BesideMLP, dynamic=module, place=place, last=last)


def shared(blocks: list[nn.Module], share: int) -> list[list[nn.Module]]:
    """Return the runs of `share` consecutive blocks of one stage; the last may be shorter."""
    return [blocks[i : i + share] for i in range(0, len(blocks), share)]
