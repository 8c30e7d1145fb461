"""BOFT: the inputs of a layer are rotated by a product of sparse rotations, as in an FFT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from methods.base import Count, register
from methods.oft import Rotated
from methods.parts import targets
from methods.parts.updates import Update, WeightMethod

PAPER = Citation(
    (
        "Liu, Weiyang",
        "Qiu, Zeju",
        "Feng, Yao",
        "Xiu, Yuliang",
        "Xue, Yuxuan",
        "Yu, Longhui",
        "Feng, Haiwen",
        "Liu, Zhen",
        "Heo, Juyeon",
        "Peng, Songyou",
        "Wen, Yandong",
        "Black, Michael J.",
        "Weller, Adrian",
        "Schölkopf, Bernhard",
    ),
    "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization",
    2024,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2311.06243",
)


def butterfly(columns: int, block: int, level: int) -> Tensor:
    """Return the order (columns,) in which factor `level` = 0, 1, ... reads its inputs.

    Half a block is one unit, and a stretch is 2^level blocks. Units of the first half of a stretch
    alternate with those of the second, so that a block joins two units 2^level apart; at level 0
    the order stays. m factors carry an input to 2^m units.
    """
    units = torch.arange(columns).view(-1, 2, 2**level, block // 2)
    return units.transpose(1, 2).flatten()


class Butterflies(Update):
    """`W B_1 ... B_m`, each B rotating blocks of inputs in an order of its own."""

    orders: Tensor

    def __init__(self, columns: int, block: int, factors: int) -> None:
        super().__init__()
        self.rotations = nn.ModuleList(Rotated(columns, block) for _ in range(factors))
        self.fixed(orders=torch.stack([butterfly(columns, block, k) for k in range(factors)]))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        for order, rotation in zip(self.orders, self.rotations, strict=True):
            # B = P^T diag(R) P: inputs in the factor's order, rotated, and back to their places
            rotated = rotation(weight[:, order])
            weight = torch.empty_like(rotated).index_copy(1, order, rotated)
        return weight


@register("boft")
@dataclass(frozen=True)
class BOFT(WeightMethod):
    """W' = W B_1 ... B_m, B_i block-diagonal rotations of side `block` between permutations.

    m = `factors` rotations of small blocks mix as many inputs as one of large blocks (OFT) with
    fewer values (sec. 4); the Cayley transform makes them, and all start as the identity. As in
    Hugging Face's library, but for its trained scale of every output.
    """

    block: Count = 8
    factors: Count = 2

    display = "BOFT"
    family = "Orthogonal"
    works = (PAPER,)
    passage = "sec. 4 and fig. 2"
    lr = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block % 2:
            raise InputError(f"block={self.block} of boft must be even: factors exchange halves")

    def update(self, weight: Tensor) -> Update:
        """Return the product of rotations."""
        return Butterflies(weight.shape[1], self.block, self.factors)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where a target is missing, or a width does not hold the factors."""
        stretch = self.block * 2 ** (self.factors - 1)
        for layer, _ in targets.places(backbone, self.targets):
            if layer.in_features % stretch:
                return (
                    f"the width {layer.in_features} of a layer is no multiple of "
                    f"block * 2^(factors - 1) = {stretch}"
                )
        return super().unsupported(backbone)

    def size(self, rows: int, columns: int) -> int:
        """Return m in (block - 1) / 2."""
        return self.factors * columns * (self.block - 1) // 2
