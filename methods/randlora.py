"""RandLoRA: a full-rank update from fixed random low-rank bases and trained diagonals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, Factor, register
from methods.parts.updates import Update, WeightMethod, seeded

PAPER = Citation(
    (
        "Albert, Paul",
        "Zhang, Frederic Z.",
        "Saratchandran, Hemanth",
        "Rodriguez-Opazo, Cristian",
        "van den Hengel, Anton",
        "Abbasnejad, Ehsan",
    ),
    "RandLoRA: Full-rank parameter-efficient fine-tuning of large models",
    2025,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2502.00987",
)


class Bases(Update):
    """`W + s sum_j B_j diag(l_j) A diag(g_j)` with fixed B_j (long, r) and A (r, short)."""

    a: Tensor
    b: Tensor

    def __init__(self, rows: int, columns: int, rank: int, scale: float) -> None:
        super().__init__()
        short, long = min(rows, columns), max(rows, columns)
        self.scale, self.turned = scale, rows < columns
        number = -(-short // rank)
        # uniform of unit variance, as in Hugging Face's library
        bases = seeded(number * long, rank, bound=3**0.5, seed=1).view(number, long, rank)
        self.fixed(a=seeded(rank, short, bound=3**0.5), b=bases)
        self.vector_l = nn.Parameter(torch.zeros(number, rank))
        self.vector_g = nn.Parameter(torch.full((number, short), 1 / long))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        left = (self.b * self.vector_l[:, None]).transpose(0, 1).flatten(1)  # (long, number r)
        right = (self.a * self.vector_g[:, None]).flatten(0, 1)  # (number r, short)
        update = left @ right
        return weight + self.scale * (update.T if self.turned else update)


@register("randlora")
@dataclass(frozen=True)
class RandLoRA(WeightMethod):
    """W' = W + s sum_j B_j diag(l_j) A diag(g_j), as many j as give full rank (eq. 3).

    l = 0 and g = 1 / max(out, in) at the start; s = `alpha` / `rank` as in Hugging Face's library.
    """

    rank: Count = 32
    alpha: Factor = 640.0

    display = "RandLoRA"
    family = "Low-rank"
    works = (PAPER,)
    passage = "eq. 3"
    lr = 1e-3

    def update(self, weight: Tensor) -> Update:
        """Return the sum of the bases."""
        return Bases(len(weight), weight.shape[1], self.rank, self.alpha / self.rank)

    def size(self, rows: int, columns: int) -> int:
        """Return n (r + min(out, in)), n = ceil(min(out, in) / r)."""
        short = min(rows, columns)
        return -(-short // self.rank) * (self.rank + short)
