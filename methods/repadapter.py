"""RepAdapter: a linear adapter before attention and MLP that folds into the next layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from methods import families, seams
from methods.base import Count, Factor, Method, Range, Share, later, register
from methods.parts import adapters, lean
from methods.parts.inputs import AdaptedInput
from methods.parts.starts import zero

PAPER = Citation(
    (
        "Luo, Gen",
        "Huang, Minglang",
        "Zhou, Yiyi",
        "Sun, Xiaoshuai",
        "Jiang, Guannan",
        "Wang, Zhiyu",
        "Ji, Rongrong",
    ),
    "Towards Efficient Visual Adaption via Structural Re-parameterization",
    2023,
    arxiv="2302.08106",
)


class GroupedAdapter(nn.Module):
    """`x + s (U (D x + b_d) + b_u)`, U grouped: each half of the outputs reads half of the inner.

    D is random and U zero at the start. `dropout` drops inner values in training.
    """

    def __init__(
        self, width: int, bottleneck: int, groups: int, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Conv1d(bottleneck, width, 1, groups=groups)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted input (..., C)."""
        # as (1, h, tokens): a grouped matrix is a grouped 1-D convolution of size 1
        hidden = lean.linear(x, self.down.weight, self.down.bias).flatten(0, -2).T[None]
        hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        return x + self.scale * self.up(hidden)[0].T.reshape(x.shape)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return (A, c) with `forward(x) = x A^T + c`."""
        assert not self.training, "dropout would fall on the matrix that is folded"
        width = self.down.in_features
        # read off the module itself, so that what is folded is what was trained
        origin = self(torch.zeros_like(self.down.weight[:1]))
        return (self(torch.eye(width).to(origin)) - origin).T, origin[0]


_FIRST = {"attn": "qkv", "mlp": "fc1"}  # the one layer of a branch that reads its input


@register("repadapter")
@dataclass(frozen=True)
class RepAdapter(Method):
    """`x + s phi_u(phi_d(x))` on the normed input of attention and MLP, without activation (eq. 7).

    Folds into qkv and fc1 (eq. 10-11) where each is the only reader of its branch's input. The
    authors tune s per task, between .1 and 10.
    """

    bottleneck: Count = 8
    groups: Count = 2
    scale: Factor = 1.0
    dropout: Share = later(0.1, recorded=0.0)

    display = "RepAdapter"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 7 and 10-11"
    lr = 1e-3
    ranges = (
        Range("scale", 0.1, 10, "scripts/search_repblock.sh of github.com/luogen1996/RepAdapter"),
    )
    mergeable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck % self.groups:
            raise InputError(
                f"bottleneck={self.bottleneck} must be a multiple of groups={self.groups}"
            )

    def edit(self, backbone: nn.Module) -> None:
        """Add two adapters per block."""
        for block in families.blocks(backbone):
            sizes = (families.width(block), self.bottleneck, self.groups, self.scale, self.dropout)
            for branch in adapters.BRANCHES:
                adapters.add(block, branch, AdaptedInput, GroupedAdapter(*sizes))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack attention or MLP, or their width has no such groups."""
        blocks = families.blocks(backbone)
        if any(families.width(block) % self.groups for block in blocks if hasattr(block, "mlp")):
            return f"the width of a block is no multiple of groups={self.groups}"
        return adapters.missing(backbone, *adapters.BRANCHES, reads_input=True)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 [(d h + h) + (d h / groups + d)], summed over blocks."""
        h, g = self.bottleneck, self.groups
        widths = [families.width(block) for block in families.blocks(backbone)]
        return sum(2 * ((d * h + h) + (d * h // g + d)) for d in widths)

    def is_mergeable(self, backbone: nn.Module) -> bool:
        """Return whether qkv and fc1 with biases of their own read every adapted input alone."""
        return all(
            (layer := families.linear(block, role)) is not None
            and layer.bias is not None
            and not families.outer_qkv_bias(block)
            and families.only_reader(block, role)
            for block in families.blocks(backbone)
            for role in _FIRST.values()
        )

    def fold(self, module: nn.Module) -> nn.Module:
        """Fold the adapters into qkv and fc1: W A and b + W c."""
        for block in families.blocks(module):
            for branch, role in _FIRST.items():
                part, layer = getattr(block, branch), families.linear(block, role)
                assert layer is not None
                matrix, offset = part.adapter.affine()
                layer.bias.data.add_(layer.weight @ offset)
                layer.weight.data.copy_(layer.weight @ matrix)
                seams.restore(part, "adapter")
        lean.restore(module)
        return module
