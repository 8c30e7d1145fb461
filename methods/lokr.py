"""LoKr: the Kronecker product of a small matrix and a low-rank one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, Factor, register
from methods.loha import LYCORIS
from methods.parts.updates import Update, WeightMethod, kaiming

KRONA = Citation(
    (
        "Edalati, Ali",
        "Tahaei, Marzieh",
        "Kobyzev, Ivan",
        "Partovi Nia, Vahid",
        "Clark, James J.",
        "Rezagholizadeh, Mehdi",
    ),
    "KronA: Parameter Efficient Tuning with Kronecker Adapter",
    2022,
    arxiv="2212.10650",
)


def near_square(number: int) -> tuple[int, int]:
    """Return the factors (a, b) of `number` with a <= b that lie nearest to each other."""
    small = max(a for a in range(1, int(number**0.5) + 1) if number % a == 0)
    return small, number // small


class Kronecker(Update):
    """`W + s C (x) (B A)`; C starts at zero."""

    def __init__(self, rows: int, columns: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        (m, p), (n, q) = near_square(rows), near_square(columns)
        # the small factor starts at zero, the low-rank one does not: one of a product, never both
        self.c = nn.Parameter(torch.zeros(m, n))
        self.b, self.a = kaiming(p, rank), kaiming(rank, q)

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        return weight + self.scale * torch.kron(self.c, self.b @ self.a)


@register("lokr")
@dataclass(frozen=True)
class LoKr(WeightMethod):
    """W' = W + (alpha / r) C (x) (B A), C (m, n), B A (out / m, in / n), both nearly square.

    C starts at zero, as in Hugging Face's library (in LyCORIS B does, and C is Kaiming's). The
    second factor is always of low rank; LyCORIS leaves it whole where r is above half its side.
    """

    rank: Count = 8
    alpha: Factor = 8.0

    display = "LoKr"
    family = "Low-rank"
    works = (LYCORIS, KRONA)
    lr = 3e-3

    def update(self, weight: Tensor) -> Update:
        """Return the product."""
        return Kronecker(len(weight), weight.shape[1], self.rank, self.alpha / self.rank)

    def size(self, rows: int, columns: int) -> int:
        """Return m n + r (out / m + in / n)."""
        (m, p), (n, q) = near_square(rows), near_square(columns)
        return m * n + self.rank * (p + q)
