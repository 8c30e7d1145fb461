"""FacT-TT: all weight updates as one tensor train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Factor, Method, OneOf, Share, later, register
from methods.parts import factors

FACT = Citation(
    ("Jie, Shibo", "Deng, Zhi-Hong"),
    "FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer",
    2023,
    "AAAI Conference on Artificial Intelligence",
    "inproceedings",
    arxiv="2212.03145",
)


class TensorTrain(factors.Factored):
    """Each piece has an inner matrix of its own."""

    core: nn.Parameter  # (p, r, r)

    def sigma(self) -> Tensor:
        """Return the inner matrices (p, r, r)."""
        return self.core


@register("fact_tt")
@dataclass(frozen=True)
class FacTTT(Method):
    """`W_i + s V Sigma_i U^T`, U and V shared by all layers, Sigma_i per (d, d) piece (eq. 5).

    `start="released"` draws U and Sigma as the authors' linear layers do; "xavier" (Xavier U and
    Sigma = I) makes what V's first steps multiply four times larger. The authors tune s per task.
    """

    rank: Count = 16
    scale: Factor = 1.0
    dropout: Share = later(0.1, recorded=0.0)
    start: Annotated[str, OneOf(factors.STARTS)] = later("released", recorded="xavier")

    display = "FacT-TT"
    family = "Low-rank"
    works = (FACT,)
    passage = "eq. 5"
    lr = 3e-3
    ranges = (factors.SCALES,)
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Share the outer factors, give each layer its inner matrices."""
        u, v = factors.outer(backbone, self.rank, self.start)
        shared = {"u": u, "v": v, "scale": self.scale, "dropout": self.dropout}
        for role, layer, count in list(factors.places(backbone)):
            if self.start == "released":
                # the authors' layer of fc2 reads all pieces at once
                fan_in = self.rank * (count if role == "fc2" else 1)
                core = factors.uniform(count, self.rank, self.rank, fan_in=fan_in)
            else:
                core = torch.eye(self.rank).repeat(count, 1, 1)
            seams.extend(layer, TensorTrain, core=nn.Parameter(core), **shared)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason for what is no plain ViT with fused qkv."""
        return factors.unsupported(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d r + p r^2, p the number of (d, d) pieces."""
        width = families.width(families.blocks(backbone)[0])
        return 2 * width * self.rank + factors.pieces(backbone) * self.rank**2

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights."""
        return factors.fold(module, "core")
