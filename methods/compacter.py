"""Compacter: adapters whose matrices are sums of Kronecker products with shared factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from methods import families, seams
from methods.base import Count, Method, register
from methods.parts import adapters

PAPER = Citation(
    ("Karimi Mahabadi, Rabeeh", "Henderson, James", "Ruder, Sebastian"),
    "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers",
    2021,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2106.04647",
)


class HyperLinear(nn.Module):
    """`x W + b`, W = sum_i A_i (x) (s_i t_i), the A_i (n, n) shared by all layers (eq. 5)."""

    def __init__(self, rules: nn.Parameter, width: int, out: int, *, zero: bool) -> None:
        super().__init__()
        n = len(rules)
        self.rules = rules
        self.s = nn.Parameter(torch.randn(n, width // n, 1) * (n / width) ** 0.5)
        start = torch.zeros if zero else torch.randn
        self.t = nn.Parameter(start(n, 1, out // n))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out)."""
        # kron(A_i, B_i)[a p + c, b q + d] = A_i[a, b] B_i[c, d]
        # the products are summed at once: n matrices of full size are never formed
        weight = torch.einsum("iab,icd->acbd", self.rules, self.s @ self.t)
        return x @ weight.flatten(2).flatten(0, 1).to(x.dtype) + self.bias.to(x.dtype)


class CompactAdapter(nn.Module):
    """`up(gelu(down(x)))`, zero at the start."""

    def __init__(self, rules: nn.Parameter, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = HyperLinear(rules, width, bottleneck, zero=False)
        self.up = HyperLinear(rules, bottleneck, width, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to a branch's output `x` (..., C)."""
        return self.up(F.gelu(self.down(x)))


@register("compacter")
@dataclass(frozen=True)
class Compacter(Method):
    """Houlsby's places with hyper-complex layers of rank 1 (eq. 5-6), n terms.

    Deviation: the factor t of the up-projection starts at zero, the shared A_i at N(0, 1 / n): with
    the authors' tiny starts step 0 would only nearly be the backbone.
    """

    bottleneck: Count = 24
    terms: Count = 4

    display = "Compacter"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 5-6"
    lr = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck % self.terms:
            raise InputError(
                f"bottleneck={self.bottleneck} must be a multiple of terms={self.terms}"
            )

    def edit(self, backbone: nn.Module) -> None:
        """Add two adapters per block."""
        n = self.terms
        # one for the whole network, as in the paper: all its layers follow the same rules
        rules = nn.Parameter(torch.randn(n, n, n) * n**-0.5)
        for block in families.blocks(backbone):
            for branch in adapters.BRANCHES:
                adapter = CompactAdapter(rules, families.width(block), self.bottleneck)
                adapters.add(block, branch, seams.Serial, adapter)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack a branch, or their width is no multiple of terms."""
        if reason := adapters.missing(backbone, *adapters.BRANCHES):
            return reason
        if any(families.width(block) % self.terms for block in families.blocks(backbone)):
            return f"the width of a block is no multiple of terms={self.terms}"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return n^3 + 2 (3 d + 3 b), the latter summed over blocks."""
        widths = [families.width(block) for block in families.blocks(backbone)]
        return self.terms**3 + sum(6 * (width + self.bottleneck) for width in widths)
