"""SHiRA: a few entries of each weight, chosen at random, are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import OTHERS, Citation
from methods.base import Count, register
from methods.parts.updates import Update, WeightMethod, seeded

PAPER = Citation(
    ("Bhardwaj, Kartikeya", OTHERS),
    "Sparse High Rank Adapters",
    2024,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2406.13175",
)


class Sparse(Update):
    """`W` plus trained values at fixed random places, zero at the start."""

    places: Tensor

    def __init__(self, rows: int, columns: int, number: int) -> None:
        super().__init__()
        # places come from a seed, so a delta holds values alone and no indices
        self.fixed(places=seeded(rows * columns).argsort()[:number])
        self.values = nn.Parameter(torch.zeros(number))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        return weight.flatten().index_add(0, self.places, self.values).view_as(weight)


@register("shira")
@dataclass(frozen=True)
class SHiRA(WeightMethod):
    """W' = W + S, S sparse and of high rank, with as many values as LoRA of this `rank`.

    The mask is the paper's random one, drawn from a fixed seed; its gradient mask asks training
    images, as `gps` does.
    """

    rank: Count = 8

    display = "SHiRA"
    family = "Sparse"
    works = (PAPER,)
    passage = "sec. 3.1"
    lr = 2e-3

    def update(self, weight: Tensor) -> Update:
        """Return the sparse sum."""
        return Sparse(len(weight), weight.shape[1], self.size(len(weight), weight.shape[1]))

    def size(self, rows: int, columns: int) -> int:
        """Return r (out + in), or all entries where there are fewer."""
        return min(self.rank * (rows + columns), rows * columns)
