"""What the two FacT methods share: updates from factors common to all layers. Not a method itself.

Legend: d width, r rank, p number of (d, d) pieces of a weight.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import families, seams
from methods.base import Range
from methods.parts.updates import frozen_weight

ROLES = ("qkv", "proj", "fc1", "fc2")


class Factored(seams.Extension):
    """Adds `s V Sigma_i U^T` to each (d, d) piece i of a linear layer; U and V are shared.

    Pieces lie along the output (qkv, fc1) or along the input (fc2).
    """

    bias: nn.Parameter | None
    u: nn.Parameter  # (d, r)
    v: nn.Parameter  # (d, r)
    scale: float
    dropout: float  # of the inner values, between Sigma_i and V

    def sigma(self) -> Tensor:
        """Return the inner matrices (p, r, r) of this layer's pieces."""
        raise NotImplementedError

    @property
    def base_weight(self) -> Tensor:
        """Return the frozen weight (out, in)."""
        return frozen_weight(self)

    @property
    def weight(self) -> Tensor:
        """Return the effective weight (out, in)."""
        pieces = self.scale * self.v @ self.sigma() @ self.u.T
        joined = torch.cat(list(pieces), 0 if self._along_output() else 1)
        return self.base_weight + joined

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (..., out) plus the update through rank r."""
        out = F.linear(x, self.base_weight, self.bias)
        if self._along_output():
            inner = torch.einsum("...r,psr->...ps", x @ self.u, self.sigma())
            inner = F.dropout(inner, self.dropout, self.training)
            return out + self.scale * (inner @ self.v.T).flatten(-2)
        parts = x.unflatten(-1, (-1, len(self.u))) @ self.u
        inner = torch.einsum("...pr,psr->...s", parts, self.sigma())
        inner = F.dropout(inner, self.dropout, self.training)
        return out + self.scale * inner @ self.v.T

    def _along_output(self) -> bool:
        # fc2 alone is wider than long, so its pieces lie along the input
        return len(self.base_weight) >= self.base_weight.shape[1]


def places(backbone: nn.Module) -> Iterator[tuple[str, nn.Linear, int]]:
    """Yield (role, layer, number of pieces) of every adapted layer, in order."""
    for block in families.blocks(backbone):
        for role in ROLES:
            layer = families.linear(block, role)
            if layer is not None:
                width = families.width(block)
                yield role, layer, max(layer.in_features, layer.out_features) // width


def pieces(backbone: nn.Module) -> int:
    """Return the number of pieces of all layers (12 per block of a plain ViT)."""
    return sum(count for *_, count in places(backbone))


def unsupported(backbone: nn.Module) -> str | None:
    """Return why factors cannot be shared over all layers, or None."""
    found = families.find(backbone)
    if found is None or not found.sequence:
        return "one pair of factors needs blocks of one width, as in a plain ViT"
    for block in families.blocks(backbone):
        width = families.width(block)
        for role in ROLES:
            layer = families.linear(block, role)
            if layer is None:
                return f"its blocks have no fused linear layer {role!r}"
            if layer.in_features % width or layer.out_features % width:
                return f"its layer {role!r} is not made of pieces of the width {width}"
    return None


STARTS = ("released", "xavier")
SCALES = Range(
    "scale", 0.01, 100, "the authors' search per task; FacT/configs of github.com/JieShibo/PETL-ViT"
)


def outer(backbone: nn.Module, rank: int, start: str) -> tuple[nn.Parameter, nn.Parameter]:
    """Return U, random, and V, zero, so that step 0 is the backbone.

    "released" draws U as the authors' `nn.Linear(d, r)` does, from U(-1/sqrt(d), 1/sqrt(d)).
    """
    width = families.width(families.blocks(backbone)[0])
    if start == "released":
        u = nn.Parameter(uniform(width, rank, fan_in=width))
    else:
        u = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, rank)))
    return u, nn.Parameter(torch.zeros(width, rank))


def uniform(*shape: int, fan_in: int) -> Tensor:
    """Return what `nn.Linear` draws for a weight of this fan-in."""
    return torch.empty(*shape).uniform_(-(fan_in**-0.5), fan_in**-0.5)


def fold(module: nn.Module, *attributes: str) -> nn.Module:
    """Store the effective weights and take the factors away."""
    layers = [m for m in module.modules() if isinstance(m, Factored)]
    # all weights first: the factors are shared, and `restore` takes them from a layer
    for layer in layers:
        layer.base_weight.data.copy_(layer.weight)
    for layer in layers:
        seams.restore(layer, "u", "v", "scale", "dropout", *attributes)
    return module
