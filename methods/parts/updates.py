"""Methods that train a function of frozen weights, W' = f(W). Not a method itself.

Each adapted range of rows of a linear layer gets an `Update`, a module that holds the trained
tensors and returns the effective rows. The dense update costs a dense weight gradient; methods
whose update is a cheap branch (LoRA) have a layer of their own. Fixed random matrices are no part
of what is stored: they are drawn again from a seed that depends on their shape alone.

Legend: out, in: rows and columns of an adapted range, r rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import families, seams
from methods.base import Method
from methods.parts import targets


class Update(nn.Module):
    """The trained tensors of one range of rows; `forward(W)` returns W' (out, in)."""

    def fixed(self, **tensors: Tensor) -> None:
        """Keep tensors that are made again at every attach, and hence not stored."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the effective rows (out, in) of the frozen `weight` (out, in)."""
        raise NotImplementedError


class Updated(seams.Extension):
    """A linear layer with updates; `weight` is the effective one, which some timm models read."""

    parts: list[targets.Rows]
    updates: nn.ModuleList
    bias: nn.Parameter | None

    @property
    def base_weight(self) -> Tensor:
        """Return the frozen weight (out, in)."""
        return frozen_weight(self)

    @property
    def weight(self) -> Tensor:
        """Return the effective weight (out, in)."""
        base, rows, end = self.base_weight, [], 0
        for (start, stop), update in zip(self.parts, self.updates, strict=True):
            rows += [base[end:start], update(base[start:stop])]
            end = stop
        return torch.cat([*rows, base[end:]])

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (..., out)."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class WeightMethod(Method):
    """A method whose `update` makes the trained function of one range of rows.

    `targets` joins roles with +: q, k, v mean their rows of a fused qkv, each with an update of its
    own; qkv means the whole fused layer.
    """

    targets: str = "q+v"

    mergeable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        targets.check(self.targets)

    def update(self, weight: Tensor) -> Update:
        """Return the update of frozen rows `weight` (out, in)."""
        raise NotImplementedError

    def size(self, rows: int, columns: int) -> int:
        """Return the number of values that `update` trains for rows (out, in)."""
        raise NotImplementedError

    def edit(self, backbone: nn.Module) -> None:
        """Put an update on every adapted range of rows."""
        for layer, parts in list(targets.places(backbone, self.targets)):
            weight = layer.weight.detach()
            updates = nn.ModuleList(self.update(weight[start:stop]) for start, stop in parts)
            seams.extend(layer, Updated, parts=parts, updates=updates)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where no block has one of the targets."""
        return targets.missing(backbone, self.targets)

    def count(self, backbone: nn.Module) -> int:
        """Return the sum of `size` over the adapted ranges."""
        return sum(
            self.size(stop - start, layer.in_features)
            for layer, parts in targets.places(backbone, self.targets)
            for start, stop in parts
        )

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights and take the updates away."""
        for layer in [m for m in module.modules() if isinstance(m, Updated)]:
            layer.base_weight.data.copy_(layer.weight)
            seams.restore(layer, "parts", "updates")
        return module


def frozen_weight(layer: nn.Module) -> Tensor:
    """Return the weight (out, in) of a layer whose `weight` is a property of its extension."""
    weight = layer._parameters["weight"]
    assert weight is not None
    return weight


def seeded(*shape: int, bound: float | None = None, seed: int = 0) -> Tensor:
    """Return a fixed random matrix, N(0, 1) or uniform in +-bound, of this shape and seed."""
    # by shape alone: layers of one shape share the matrix, and no global draw is used up
    generator = torch.Generator().manual_seed(seed * 1_000_003 + 131 * shape[0] + shape[-1])
    if bound is None:
        return torch.randn(*shape, generator=generator)
    return (2 * torch.rand(*shape, generator=generator) - 1) * bound


def kaiming(rows: int, columns: int) -> nn.Parameter:
    """Return (rows, columns) drawn as `nn.Linear` draws its weight."""
    return nn.Parameter(nn.init.kaiming_uniform_(torch.empty(rows, columns), a=5**0.5))


def widths(backbone: nn.Module) -> list[int]:
    """Return the width of every block."""
    return [families.width(block) for block in families.blocks(backbone)]
