"""The modules of DVPT. Not a method itself.

Legend: B images, N tokens, d width of the backbone, r bottleneck, m prompts, g gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.parts import lean


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


def attend(queries: Tensor, keys: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(r)) K: (B, m, r) from (B, m, r) and (B, N, r)."""
    weights = (queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(-1)
    return weights @ keys


class GatedBottleneck(nn.Module):
    """`c g (Y W_u + b_u)` with Z = QuickGELU(u W_d + b_d) and Y = `mix(Z)`; here Y = Z.

    Either g or W_u is 0 at the start, never both: everything would stay dead. `start` is "gate"
    (g = 0), "fast_gate" (g = 0, c = 10: Adam moves every value by about the learning rate, which is
    little for a gate) or "up" (W_u = 0, g = 1); c = 1 but for "fast_gate".
    """

    def __init__(self, width: int, bottleneck: int, start: str = "gate") -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.gate = nn.Parameter(torch.full((), float(start == "up")))
        self.speed = 10.0 if start == "fast_gate" else 1.0
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)
        if start == "up":
            nn.init.zeros_(self.up.weight)

    def mix(self, z: Tensor, last: bool) -> Tensor:
        """Return Y (B, N, r); `last` says that no block will read the prompt rows."""
        return z

    def onto(self, base: Tensor, u: Tensor, last: bool = False) -> Tensor:
        """Return `base` (B, N, d) plus what the module makes of the residual u (B, N, d)."""
        z = quick_gelu(lean.linear(u, self.down.weight, self.down.bias))
        return lean.add_up(base, self.mix(z, last), self.up, self.speed * self.gate)


class RowsBottleneck(GatedBottleneck):
    """The prompt rows of Z attend over its other rows and are replaced by what they read."""

    def __init__(
        self, width: int, bottleneck: int, start: str = "gate", *, position: int, prompts: int
    ) -> None:
        super().__init__(width, bottleneck, start)
        self.start, self.stop = position, position + prompts

    def mix(self, z: Tensor, last: bool) -> Tensor:
        """Return Z with prompt rows A; in the last block nobody reads them, so they stay."""
        if last:
            return z
        # the rows never read each other: queries see the image's rows, as `attend` does
        before, queries, after = z[:, : self.start], z[:, self.start : self.stop], z[:, self.stop :]
        read = attend(queries, torch.cat([before, after], 1))
        return torch.cat([before, read, after], 1)


class AttendBottleneck(GatedBottleneck):
    """Learnable queries read sample-specific prompts A from Z, every token reads them back."""

    def __init__(self, width: int, bottleneck: int, start: str = "gate", *, prompts: int) -> None:
        super().__init__(width, bottleneck, start)
        # of unit size: with tiny ones all queries give one softmax, so m prompts act as one
        self.queries = nn.Parameter(torch.randn(prompts, bottleneck))

    def mix(self, z: Tensor, last: bool) -> Tensor:
        """Return Y = Z + softmax(Z A^T / sqrt(r)) A."""
        return z + attend(z, attend(self.queries, z))


def shared(blocks: list[nn.Module], share: int) -> list[list[nn.Module]]:
    """Return the runs of `share` consecutive blocks of one stage; the last may be shorter."""
    return [blocks[i : i + share] for i in range(0, len(blocks), share)]
