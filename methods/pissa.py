"""PiSSA: LoRA that starts at the principal singular directions of the weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, register
from methods.parts.updates import Update, WeightMethod

PAPER = Citation(
    ("Meng, Fanxu", "Wang, Zhaohui", "Zhang, Muhan"),
    "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
    2024,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2404.02948",
)


class Principal(Update):
    """`W + B A - B_0 A_0`: the r largest singular directions are trained, the rest is frozen."""

    start: Tensor

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        if weight.is_meta:  # a count without memory: only shapes matter
            b, a = torch.empty(len(weight), rank), torch.empty(rank, weight.shape[1])
        else:
            exact = weight if weight.dtype == torch.float64 else weight.float()
            u, s, v = torch.linalg.svd(exact, full_matrices=False)
            root = s[:rank].sqrt()
            b, a = u[:, :rank] * root, root[:, None] * v[:rank]
        self.b, self.a = nn.Parameter(b.clone()), nn.Parameter(a.clone())
        # the product does not depend on the signs that a decomposition happens to choose
        self.fixed(start=b @ a)

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        return weight + (self.b @ self.a - self.start)


@register("pissa")
@dataclass(frozen=True)
class PiSSA(WeightMethod):
    """W' = W_res + B A with B A = U_r S_r V_r^T at the start and W_res = W - B A (eq. 2-4).

    What is stored is A and B; W_res is made from W when the method is attached.
    """

    rank: Count = 8

    display = "PiSSA"
    family = "Low-rank"
    works = (PAPER,)
    passage = "eq. 2-4"
    lr = 2e-4

    def update(self, weight: Tensor) -> Update:
        """Return the trained principal part."""
        return Principal(weight, min(self.rank, *weight.shape))

    def size(self, rows: int, columns: int) -> int:
        """Return r (out + in)."""
        return min(self.rank, rows, columns) * (rows + columns)
