"""(IA)^3: keys, values and the hidden units of the MLP are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Method, register
from methods.parts import targets

PAPER = Citation(
    (
        "Liu, Haokun",
        "Tam, Derek",
        "Muqeeth, Mohammed",
        "Mohta, Jay",
        "Huang, Tenghao",
        "Bansal, Mohit",
        "Raffel, Colin",
    ),
    "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
    2022,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2205.05638",
)


class ScaledRows(seams.LinearExtension):
    """A linear layer whose output is multiplied by `gains` in the ranges `parts`."""

    parts: list[targets.Rows]
    gains: nn.ParameterList

    def gain(self) -> Tensor:
        """Return (out,): the gains, 1 elsewhere."""
        ones, pieces, end = torch.ones_like(self.weight[:, 0]), [], 0
        for (start, stop), gain in zip(self.parts, self.gains, strict=True):
            pieces += [ones[end:start], gain]
            end = stop
        return torch.cat([*pieces, ones[end:]])

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out)."""
        return super().forward(x) * self.gain()


class ScaledInput(seams.LinearExtension):
    """A linear layer of `gain * x`."""

    gain: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out)."""
        return super().forward(x * self.gain)


@register("ia3")
@dataclass(frozen=True)
class IA3(Method):
    """l_k * K, l_v * V and W_2 (l_ff * act(W_1 x)), all ones at the start (eq. in sec. 3.3)."""

    display = "(IA)3"
    family = "Selective"
    works = (PAPER,)
    passage = "sec. 3.3"
    lr = 5e-3
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Scale the rows of k and v, and the inputs of the second linear layer."""
        # a list: extending a layer while the generator looks for layers would change what it finds
        for layer, parts in list(targets.places(backbone, "k+v")):
            ones = [torch.ones(stop - start) for start, stop in parts]
            gains = nn.ParameterList(map(nn.Parameter, ones))
            seams.extend(layer, ScaledRows, parts=parts, gains=gains)
        for layer in _second(backbone):
            # on the input of fc2: that is the output of the activation, whatever kind of MLP it is
            seams.extend(layer, ScaledInput, gain=nn.Parameter(torch.ones(layer.in_features)))

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where there are no keys, or a layer is read and never called."""
        if any(families.outer_qkv_bias(block) for block in families.blocks(backbone)):
            return "its attention reads the weight of qkv and keeps the bias elsewhere"
        return targets.missing(backbone, "k+v+fc2")

    def count(self, backbone: nn.Module) -> int:
        """Return the widths of keys, values and hidden units, summed over blocks."""
        rows = (r for _, parts in targets.places(backbone, "k+v") for r in parts)
        hidden = sum(layer.in_features for layer in _second(backbone))
        return sum(stop - start for start, stop in rows) + hidden

    def fold(self, module: nn.Module) -> nn.Module:
        """Multiply the gains into weights and biases."""
        for layer in [m for m in module.modules() if isinstance(m, ScaledRows)]:
            layer.weight.data.mul_(layer.gain()[:, None])
            if layer.bias is not None:
                layer.bias.data.mul_(layer.gain())
            seams.restore(layer, "parts", "gains")
        for second in [m for m in module.modules() if isinstance(m, ScaledInput)]:
            second.weight.data.mul_(second.gain)
            seams.restore(second, "gain")
        return module


def _second(backbone: nn.Module) -> Iterator[nn.Linear]:
    found = (families.linear(block, "fc2") for block in families.blocks(backbone))
    return (layer for layer in found if layer is not None)
