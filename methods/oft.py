"""OFT: the inputs of a layer are rotated, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, register
from methods.parts.updates import Update, WeightMethod

PAPER = Citation(
    (
        "Qiu, Zeju",
        "Liu, Weiyang",
        "Feng, Haiwen",
        "Xue, Yuxuan",
        "Feng, Yao",
        "Liu, Zhen",
        "Zhang, Dan",
        "Weller, Adrian",
        "Schölkopf, Bernhard",
    ),
    "Controlling Text-to-Image Diffusion by Orthogonal Finetuning",
    2023,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2306.07280",
)


def largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of `number` that is not above `most`."""
    return max(k for k in range(1, most + 1) if number % k == 0)


class Rotated(Update):
    """`W R`, R block-diagonal and orthogonal by Cayley: (I + Q)(I - Q)^-1, Q skew, 0 at first."""

    places: Tensor

    def __init__(self, columns: int, block: int) -> None:
        super().__init__()
        self.block = block
        count = columns // block
        self.upper = nn.Parameter(torch.zeros(count, block * (block - 1) // 2))
        self.fixed(places=torch.triu_indices(block, block, 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        q = self.upper.new_zeros(len(self.upper), self.block, self.block)
        q[:, self.places[0], self.places[1]] = self.upper
        q = q - q.transpose(1, 2)
        eye = torch.eye(self.block, dtype=q.dtype, device=q.device)
        # both commute: the order is free; I - Q is never singular, and `solve` would look whether
        # it is, for which the host waits for a GPU in each layer
        rotation = torch.linalg.solve_ex(eye - q, eye + q).result
        blocks = weight.unflatten(1, (-1, self.block))
        return torch.einsum("ogb,gbc->ogc", blocks, rotation.to(weight.dtype)).flatten(1)


@register("oft")
@dataclass(frozen=True)
class OFT(WeightMethod):
    """W' = W R with R = diag(R_1, ..., R_n), R_i = (I + Q_i)(I - Q_i)^-1 of side `block` (eq. 4).

    Angles between the inputs' directions stay as they were. Where `block` does not divide the
    width, its largest divisor below does.
    """

    block: Count = 32

    display = "OFT"
    family = "Orthogonal"
    works = (PAPER,)
    passage = "eq. 4"
    lr = 1e-3

    def update(self, weight: Tensor) -> Update:
        """Return the rotation."""
        columns = weight.shape[1]
        return Rotated(columns, largest_divisor(columns, self.block))

    def size(self, rows: int, columns: int) -> int:
        """Return in (block - 1) / 2."""
        return columns * (largest_divisor(columns, self.block) - 1) // 2
