"""GLoRA: one layer that scales, shifts and prompts weights and biases."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Method, register

PAPER = Citation(
    ("Chavan, Arnav", "Liu, Zhuang", "Gupta, Deepak", "Xing, Eric", "Shen, Zhiqiang"),
    "One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning",
    2023,
    arxiv="2306.07967",
)


class Generalized(seams.LinearExtension):
    """`(W + W * A + B) x + W c + b * d + b + e`; A and B of low rank."""

    support: nn.ParameterDict

    def effective(self) -> tuple[Tensor, Tensor]:
        """Return the effective weight (out, in) and bias (out,)."""
        weight, p = self._parameters["weight"], self.support
        bias = self._parameters["bias"]
        shift = weight @ p["c"] + p["e"]
        changed = weight * (1 + p["a_up"] @ p["a_down"]) + p["b_up"] @ p["b_down"]
        return changed, shift + (bias * (1 + p["d"]) if bias is not None else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out)."""
        return F.linear(x, *self.effective())


@register("glora")
@dataclass(frozen=True)
class GLoRA(Method):
    """f(x) = (W + W A + B) x + C W + D b + E + b (eq. 10) on all linear layers of a block.

    A and B are low-rank matrices, C, D and E vectors: the largest choice of the paper for each but
    C. Deviation: every layer has all of them; the paper then searches which to keep.
    """

    rank: Count = 4

    display = "GLoRA"
    family = "Mixed"
    works = (PAPER,)
    passage = "eq. 10"
    lr = 5e-4
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Generalise the layers."""
        for layer in self._layers(backbone):
            shapes = self._shapes(layer).items()
            support = {name: nn.Parameter(torch.zeros(*shape)) for name, shape in shapes}
            # random downs and zero ups, so that A and B are zero and learn
            for name in ("a_down", "b_down"):
                nn.init.xavier_uniform_(support[name])
            seams.extend(layer, Generalized, support=nn.ParameterDict(support))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where a layer is read and never called, or there is none."""
        if any(families.outer_qkv_bias(block) for block in families.blocks(backbone)):
            return "its attention reads the weight of qkv and keeps the bias elsewhere"
        return None if self._layers(backbone) else "its blocks have no linear layers"

    def count(self, backbone: nn.Module) -> int:
        """Return 2 r (out + in) + in + 2 out, summed over layers (out less without a bias)."""
        return sum(
            torch.Size(shape).numel()
            for layer in self._layers(backbone)
            for shape in self._shapes(layer).values()
        )

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights and biases."""
        for layer in [m for m in module.modules() if isinstance(m, Generalized)]:
            weight, bias = layer.effective()
            seams.restore(layer, "support")
            layer.weight.data.copy_(weight)
            # a layer without a bias gets one: the shift W c + e has to go somewhere
            if layer.bias is None:
                layer.bias = nn.Parameter(bias.detach())
            else:
                layer.bias.data.copy_(bias)
        return module

    def _layers(self, backbone: nn.Module) -> list[nn.Linear]:
        roles = ("qkv", "q", "kv", "proj", "fc1", "fc2")
        found = (families.linear(b, role) for b in families.blocks(backbone) for role in roles)
        return [layer for layer in found if layer is not None]

    def _shapes(self, layer: nn.Linear) -> dict[str, tuple[int, ...]]:
        rows, columns, r = layer.out_features, layer.in_features, self.rank
        low = {"a_up": (rows, r), "a_down": (r, columns), "b_up": (rows, r), "b_down": (r, columns)}
        vectors: dict[str, tuple[int, ...]] = {"c": (columns,), "e": (rows,)}
        return {**low, **vectors, **({} if layer.bias is None else {"d": (rows,)})}
