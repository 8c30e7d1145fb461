"""LoRA: low-rank updates of linear layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from methods import families, seams
from methods.base import Count, Factor, Method, Share, register
from methods.parts import lean, targets, updates

PAPER = Citation(
    (
        "Hu, Edward J.",
        "Shen, Yelong",
        "Wallis, Phillip",
        "Allen-Zhu, Zeyuan",
        "Li, Yuanzhi",
        "Wang, Shean",
        "Wang, Lu",
        "Chen, Weizhu",
    ),
    "LoRA: Low-Rank Adaptation of Large Language Models",
    2022,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2106.09685",
)

RSLORA = Citation(
    ("Kalajdzievski, Damjan",),
    "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA",
    2023,
    arxiv="2312.03732",
)


class LowRank(seams.Extension):
    """Adds `s B A x` to rows of a linear layer; A (r, in) per part, B (out of the part, r).

    `parts` are the row ranges that are adapted: the whole layer, or q and v of a fused qkv.
    `weight` is the effective weight, for the timm models that read it and never call the layer.
    """

    lean: ClassVar[bool] = True  # `lean.low_rank` does all that the branches do
    attributes: ClassVar[tuple[str, ...]] = ("lora_a", "lora_b", "parts", "scaling", "dropout")

    lora_a: nn.Parameter
    lora_b: nn.ParameterList
    parts: list[targets.Rows]
    scaling: float
    dropout: float
    bias: nn.Parameter | None

    @classmethod
    def start(cls, method: Lora, layer: nn.Linear, parts: list[targets.Rows]) -> dict[str, Any]:
        """Return what is set on `layer`: A random, B zero, so that step 0 is the backbone."""
        # drawn on the CPU, as all methods draw: the same start on every device (`attach` moves it)
        device = "meta" if layer.weight.is_meta else "cpu"
        like: dict[str, Any] = {"dtype": layer.weight.dtype, "device": device}
        down = nn.Parameter(torch.empty(len(parts), method.rank, layer.in_features, **like))
        # each part as a matrix of its own: over all of them the fan-in would be another
        for factor in down:
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5))
        ups = (torch.zeros(stop - start, method.rank, **like) for start, stop in parts)
        return {
            "parts": parts,
            "scaling": method.scaling,
            "dropout": method.dropout,
            "lora_a": down,
            "lora_b": nn.ParameterList(map(nn.Parameter, ups)),
        }

    @property
    def base_weight(self) -> Tensor:
        """Return the frozen weight (out, in)."""
        return updates.frozen_weight(self)

    @property
    def weight(self) -> Tensor:
        """Return the effective weight (out, in)."""
        return self.low_rank_weight()

    def low_rank_weight(self) -> Tensor:
        """Return W + s B A (out, in), whatever an extension makes of it."""
        rows = [torch.zeros_like(self.base_weight[:0])]
        end = 0
        for (start, stop), a, b in zip(self.parts, self.lora_a, self.lora_b, strict=True):
            rows += [torch.zeros_like(self.base_weight[end:start]), self.scaling * b @ a]
            end = stop
        rows.append(torch.zeros_like(self.base_weight[end:]))
        return self.base_weight + torch.cat(rows)

    def dense_factors(self) -> tuple[Tensor, Tensor]:
        """Return (A, B) of one branch `B A x` for all parts: (R, in), (out, R), R their ranks."""
        rank = self.lora_a.shape[1]
        up = self.base_weight.new_zeros(len(self.base_weight), rank * len(self.parts))
        for index, ((start, stop), b) in enumerate(zip(self.parts, self.lora_b, strict=True)):
            up[start:stop, index * rank : (index + 1) * rank] = self.scaling * b.detach()
        return self.lora_a.detach().flatten(0, 1), up

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (..., out) plus the low-rank branch."""
        if self._is_lean():
            branches = lean.Branches(self.parts, self.scaling)
            layer = (self.base_weight, self.bias)
            return lean.low_rank(x, layer, branches, self.lora_a.flatten(0, 1), *self.lora_b)
        out = F.linear(x, self.base_weight, self.bias)
        updates = self.updates(x)
        # the whole layer: no need to cut the output and join it again
        if self.parts == [(0, len(self.base_weight))]:
            return out + updates[0]
        pieces, end = [], 0
        for (start, stop), update in zip(self.parts, updates, strict=True):
            pieces += [out[..., end:start], out[..., start:stop] + update]
            end = stop
        return torch.cat([*pieces, out[..., end:]], -1)

    def _is_lean(self) -> bool:
        """Return whether `lean.low_rank` will do: the rest is frozen, and nothing drops inputs."""
        layer = (self.base_weight, self.bias)
        frozen = not any(t is not None and t.requires_grad for t in layer)
        drops = self.dropout > 0 and self.training
        return self.lean and frozen and not drops and not torch.compiler.is_compiling()

    def updates(self, x: Tensor) -> list[Tensor]:
        """Return `s B A x` of each part, (..., out of the part)."""
        x = F.dropout(x, self.dropout, self.training)
        hidden = F.linear(x, self.lora_a.flatten(0, 1)).unflatten(-1, (len(self.parts), -1))
        return [F.linear(hidden[..., i, :], self.scaling * b) for i, b in enumerate(self.lora_b)]


@register("lora")
@dataclass(frozen=True)
class Lora(Method):
    """`W x + (alpha / rank) B A x` (eq. 3); `rank_stabilized`: alpha / sqrt(rank).

    `targets` joins roles with +: q, k, v adapt their rows of a fused qkv (or their own layer), each
    with its own A; qkv adapts the fused layer with one A: another function of the same size.
    """

    rank: Count = 8
    alpha: Factor = 8.0
    targets: str = "q+v"
    rank_stabilized: bool = False
    dropout: Share = 0.0

    branches: ClassVar[type[LowRank]] = LowRank
    display = "LoRA"
    family = "Low-rank"
    works: ClassVar[tuple[Citation, ...]] = (PAPER, RSLORA)
    passage = "eq. 3"
    lr = 2e-3
    mergeable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        targets.check(self.targets)

    @property
    def scaling(self) -> float:
        """Return the factor s of the branch."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)

    def edit(self, backbone: nn.Module) -> None:
        """Add the branches to the targets of every block."""
        for block in families.blocks(backbone):
            for target in self.targets.split("+"):
                # A needs its input for its gradient: let it be made from what the norm keeps anyway
                lean.remake(families.source(block, target))
        for layer, parts in list(targets.places(backbone, self.targets)):
            self._check_rank(layer)
            seams.extend(layer, self.branches, **self.branches.start(self, layer, parts))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where no block has one of the targets."""
        return targets.missing(backbone, self.targets)

    def count(self, backbone: nn.Module) -> int:
        """Return rank * (in + out), summed over the adapted parts."""
        return sum(
            self.rank * (layer.in_features + stop - start)
            for layer, parts in targets.places(backbone, self.targets)
            for start, stop in parts
        )

    def fold(self, module: nn.Module) -> nn.Module:
        """Store the effective weights and take the branches away."""
        for layer in [m for m in module.modules() if isinstance(m, LowRank)]:
            layer.base_weight.data.copy_(layer.weight)
            seams.restore(layer, *layer.attributes)
        lean.restore(module)
        return module

    def _check_rank(self, layer: nn.Linear) -> None:
        limit = min(layer.in_features, layer.out_features)
        if self.rank > limit:
            raise InputError(f"rank={self.rank} is above the width {limit} of the layer it adapts")
