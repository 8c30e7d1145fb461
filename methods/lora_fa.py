"""LoRA-FA: LoRA whose down-projection stays at its random start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, Factor, register
from methods.parts.updates import Update, WeightMethod, seeded

PAPER = Citation(
    ("Zhang, Longteng", "Zhang, Lin", "Shi, Shaohuai", "Chu, Xiaowen", "Li, Bo"),
    "LoRA-FA: Memory-efficient Low-rank Adaptation for Large Language Models Fine-tuning",
    2023,
    arxiv="2308.03303",
)


class HalfFrozen(Update):
    """`W + s B A` with a fixed A (r, in); B starts at zero."""

    a: Tensor

    def __init__(self, rows: int, columns: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        # the bound of `nn.Linear`, as in LoRA; drawn again from the shape, so a delta holds B alone
        self.fixed(a=seeded(rank, columns, bound=columns**-0.5))
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        return weight + self.scale * self.b @ self.a


@register("lora_fa")
@dataclass(frozen=True)
class LoraFA(WeightMethod):
    """W' = W + (alpha / r) B A, A frozen (sec. 3.1).

    Deviation: A is drawn from a fixed seed, alike for all layers of one width, and not stored.
    """

    rank: Count = 8
    alpha: Factor = 8.0

    display = "LoRA-FA"
    family = "Low-rank"
    works = (PAPER,)
    passage = "sec. 3.1"
    lr = 5e-3

    def update(self, weight: Tensor) -> Update:
        """Return the product."""
        return HalfFrozen(len(weight), weight.shape[1], self.rank, self.alpha / self.rank)

    def size(self, rows: int, columns: int) -> int:
        """Return r out."""
        return self.rank * rows
