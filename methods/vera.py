"""VeRA: fixed random low-rank matrices that all layers share, scaled by trained vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, OneOf, later, register
from methods.parts.updates import Update, WeightMethod, seeded

PAPER = Citation(
    ("Kopiczko, Dawid J.", "Blankevoort, Tijmen", "Asano, Yuki M."),
    "VeRA: Vector-based Random Matrix Adaptation",
    2024,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2310.11454",
)


STARTS = {"kaiming": 2, "lecun": 1}


class Scaled(Update):
    """`W + diag(b) B diag(d) A` with fixed B (out, r) and A (r, in)."""

    a: Tensor
    b: Tensor

    def __init__(self, rows: int, columns: int, rank: int, start: str) -> None:
        super().__init__()
        variance = STARTS[start]  # of each matrix, times its fan-in
        a, b = (3 * variance / columns) ** 0.5, (3 * variance / rank) ** 0.5
        self.fixed(a=seeded(rank, columns, bound=a), b=seeded(rows, rank, bound=b, seed=1))
        self.vector_d = nn.Parameter(torch.full((rank,), 0.1))
        self.vector_b = nn.Parameter(torch.zeros(rows))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        return weight + self.vector_b[:, None] * self.b @ (self.vector_d[:, None] * self.a)


@register("vera")
@dataclass(frozen=True)
class VeRA(WeightMethod):
    """W' = W + diag(b) B diag(d) A (eq. 2); b = 0 and d = .1 at the start.

    Layers of one shape share A and B, which are drawn from a fixed seed and not stored: uniform
    with Kaiming's variance 2 / fan-in as in the paper; records from before `start` existed have
    LeCun's 1 / fan-in, so half of the product.
    """

    rank: Count = 256
    start: Annotated[str, OneOf(tuple(STARTS))] = later("kaiming", recorded="lecun")

    display = "VeRA"
    family = "Low-rank"
    works = (PAPER,)
    passage = "eq. 2"
    lr = 1e-2

    def update(self, weight: Tensor) -> Update:
        """Return the scaled product."""
        return Scaled(len(weight), weight.shape[1], self.rank, self.start)

    def size(self, rows: int, columns: int) -> int:
        """Return out + r."""
        return rows + self.rank
