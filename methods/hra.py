"""HRA: the inputs of a layer are reflected by a chain of Householder reflections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from methods.base import Count, register
from methods.parts.updates import Update, WeightMethod

PAPER = Citation(
    ("Yuan, Shen", "Liu, Haotian", "Xu, Hongteng"),
    "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection "
    "Adaptation",
    2024,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2405.17484",
)


class Reflected(Update):
    """`W H_1 ... H_r`, H_i = I - 2 u_i u_i^T / |u_i|^2; equal pairs cancel at the start."""

    def __init__(self, columns: int, rank: int) -> None:
        super().__init__()
        # two equal reflections in a row are the identity, though each has a gradient of its own
        half = nn.init.kaiming_uniform_(torch.empty(rank // 2, columns), a=5**0.5)
        self.u = nn.Parameter(half.repeat_interleave(2, 0))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        # one after the other on W: the product of reflections (in, in) is never formed
        for u in nn.functional.normalize(self.u, dim=1):
            weight = weight - 2 * torch.outer(weight @ u, u)
        return weight


@register("hra")
@dataclass(frozen=True)
class HRA(WeightMethod):
    """W' = W H_1 ... H_r (eq. 3), r even: orthogonal like OFT, of low rank like LoRA.

    Without the paper's penalty on vectors that are not orthogonal to each other (lambda = 0).
    """

    rank: Count = 8

    display = "HRA"
    family = "Orthogonal"
    works = (PAPER,)
    passage = "eq. 3"
    lr = 2e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank % 2:
            raise InputError(f"rank={self.rank} of hra must be even: pairs cancel at the start")

    def update(self, weight: Tensor) -> Update:
        """Return the chain of reflections."""
        return Reflected(weight.shape[1], self.rank)

    def size(self, rows: int, columns: int) -> int:
        """Return r in."""
        return self.rank * columns
