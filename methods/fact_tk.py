"""FacT-TK: all weight updates as one Tucker decomposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.base import Count, Factor, Method, OneOf, Share, later, register
from methods.fact_tt import FACT
from methods.parts import factors


class Tucker(factors.Factored):
    """The inner matrices of a layer are mixed from a core that all layers share."""

    core: nn.Parameter  # (r, r, r), shared
    mixing: nn.Parameter  # (p, r)
    interleaved: bool

    def sigma(self) -> Tensor:
        """Return the inner matrices (p, r, r)."""
        found = torch.einsum("pq,qrs->prs", self.mixing, self.core)
        if not self.interleaved:
            return found
        # the authors' reshape counts pieces fastest where the layer counts them slowest, and
        # their fc2 multiplies by the transpose
        mixed = found.transpose(0, 1).reshape(found.shape)
        return mixed if self._along_output() else mixed.transpose(1, 2)


@register("fact_tk")
@dataclass(frozen=True)
class FacTTK(Method):
    """`W_i + s V (P_i C) U^T`, with U, V and the core C shared, P_i per (d, d) piece (eq. 7).

    `layout="released"` is the authors' code, which in the MLP interleaves pieces and inner channels
    and transposes the core of fc2; "paper" is eq. 7 in every layer. `start="released"` draws U as
    their linear layer does and all P_i as one Xavier matrix. The authors tune s per task.
    """

    rank: Count = 16
    scale: Factor = 1.0
    dropout: Share = later(0.1, recorded=0.0)
    start: Annotated[str, OneOf(factors.STARTS)] = later("released", recorded="xavier")
    layout: Annotated[str, OneOf(("released", "paper"))] = later("released", recorded="paper")

    display = "FacT-TK"
    family = "Low-rank"
    works = (FACT,)
    passage = "eq. 7"
    lr = 3e-3
    ranges = (factors.SCALES,)
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Share the outer factors and the core, give each layer its mixing rows."""
        u, v = factors.outer(backbone, self.rank, self.start)
        core = nn.Parameter(torch.empty(self.rank, self.rank, self.rank))
        nn.init.xavier_uniform_(core)
        shared = {"u": u, "v": v, "core": core, "scale": self.scale, "dropout": self.dropout}
        total = factors.pieces(backbone)
        for role, layer, count in list(factors.places(backbone)):
            columns = total if self.start == "released" else count
            bound = (6 / (columns + self.rank)) ** 0.5
            mixing = nn.Parameter(torch.empty(count, self.rank).uniform_(-bound, bound))
            interleaved = self.layout == "released" and role in ("fc1", "fc2")
            seams.extend(layer, Tucker, mixing=mixing, interleaved=interleaved, **shared)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason for what is no plain ViT with fused qkv."""
        return factors.unsupported(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d r + p r + r^3, p the number of (d, d) pieces."""
        width = families.width(families.blocks(backbone)[0])
        return 2 * width * self.rank + factors.pieces(backbone) * self.rank + self.rank**3

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights."""
        return factors.fold(module, "core", "mixing", "interleaved")
