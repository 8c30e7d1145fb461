"""FacT-TK: all weight updates as one Tucker decomposition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.base import Method, positive, register
from methods.parts import factors


class Tucker(factors.Factored):
    """The inner matrices of a layer are mixed from a core that all layers share."""

    core: nn.Parameter  # (r, r, r), shared
    mixing: nn.Parameter  # (p, r)

    def sigma(self) -> Tensor:
        """Return the inner matrices (p, r, r)."""
        return torch.einsum("pq,qrs->prs", self.mixing, self.core)


@register("fact_tk")
@dataclass(frozen=True)
class FacTTK(Method):
    """`W_i + s V (P_i C) U^T`, with U, V and the core C shared, P_i per (d, d) piece (eq. 7)."""

    rank: int = 16
    scale: float = 1.0

    paper = "Jie and Deng 2023, FacT, arXiv 2212.03145, eq. 7"
    lr = 3e-3
    mergeable = True

    def __post_init__(self) -> None:
        positive(rank=self.rank)

    def edit(self, backbone: nn.Module) -> None:
        """Share the outer factors and the core, give each layer its mixing rows."""
        u, v = factors.outer(backbone, self.rank)
        core = nn.Parameter(torch.empty(self.rank, self.rank, self.rank))
        nn.init.xavier_uniform_(core)
        for layer, count in list(factors.places(backbone)):
            mixing = nn.Parameter(torch.empty(count, self.rank))
            nn.init.xavier_uniform_(mixing)
            shared = {"u": u, "v": v, "core": core, "scale": self.scale}
            seams.extend(layer, Tucker, mixing=mixing, **shared)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason for what is no plain ViT with fused qkv."""
        return factors.unsupported(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d r + p r + r^3, p the number of (d, d) pieces."""
        width = families.width(families.blocks(backbone)[0])
        return 2 * width * self.rank + factors.pieces(backbone) * self.rank + self.rank**3

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights."""
        return factors.fold(module, "core", "mixing")
