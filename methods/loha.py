"""LoHa: the Hadamard product of two low-rank matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, Factor, register
from methods.parts.updates import Update, WeightMethod

LYCORIS = Citation(
    (
        "Yeh, Shih-Ying",
        "Hsieh, Yu-Guan",
        "Gao, Zhidong",
        "Yang, Bernard B. W.",
        "Oh, Giyeong",
        "Gong, Yanmin",
    ),
    "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
    2024,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2309.14859",
)

PAPER = Citation(
    ("Hyeon-Woo, Nam", "Ye-Bin, Moon", "Oh, Tae-Hyun"),
    "FedPara: Low-rank Hadamard Product for Communication-Efficient Federated Learning",
    2022,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2108.06098",
)


class Hadamard(Update):
    """`W + s (B1 A1) * (B2 A2)`, element by element; B2 starts at zero."""

    def __init__(self, rows: int, columns: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        # only B2 is zero: its gradient is the other product times A2, which is not
        self.b1 = nn.Parameter(torch.randn(rows, rank) * 0.1)
        self.a1 = nn.Parameter(torch.randn(rank, columns))
        self.b2 = nn.Parameter(torch.zeros(rows, rank))
        self.a2 = nn.Parameter(torch.randn(rank, columns))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        return weight + self.scale * (self.b1 @ self.a1) * (self.b2 @ self.a2)


@register("loha")
@dataclass(frozen=True)
class LoHa(WeightMethod):
    """W' = W + (alpha / r) (B1 A1) * (B2 A2): rank up to r^2 from 2 r (out + in) values.

    The start is that of LyCORIS: N(0, .1^2), N(0, 1), 0 and N(0, 1).
    """

    rank: Count = 4
    alpha: Factor = 4.0

    display = "LoHa"
    family = "Low-rank"
    works = (PAPER, LYCORIS)
    passage = "prop. 1"
    lr = 2e-3

    def update(self, weight: Tensor) -> Update:
        """Return the product of products."""
        return Hadamard(len(weight), weight.shape[1], self.rank, self.alpha / self.rank)

    def size(self, rows: int, columns: int) -> int:
        """Return 2 r (out + in)."""
        return 2 * self.rank * (rows + columns)
