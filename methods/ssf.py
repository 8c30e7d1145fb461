"""SSF: a scale and a shift after every operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Method, Range, register

PAPER = Citation(
    ("Lian, Dongze", "Zhou, Daquan", "Feng, Jiashi", "Wang, Xinchao"),
    "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning",
    2022,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2210.08823",
)


class ScaleShift(seams.Extension):
    """`scale * f(x) + shift` per channel, on the output of a linear layer, convolution or norm."""

    weight: Tensor
    bias: nn.Parameter | None
    scale: nn.Parameter
    shift: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted output; channels are axis 1 of maps, else the last."""
        out = super().forward(x)
        # timm's 2-D norms and convolutions keep channels on axis 1, everything else last
        if _channels_first(self):
            return out * self.scale[:, None, None] + self.shift[:, None, None]
        return out * self.scale + self.shift

    def fold(self) -> None:
        """Write scale and shift into weight and bias."""
        self.weight.data.mul_(self.scale.view(-1, *[1] * (self.weight.ndim - 1)))
        if self.bias is None:
            self.bias = nn.Parameter(self.shift.detach().clone())
        else:
            self.bias.data.mul_(self.scale).add_(self.shift)


def _channels_first(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm) or (
        isinstance(module, nn.LayerNorm)
        and "2d" in "".join(c.__name__ for c in type(module).__mro__)
    )


def _channels(module: nn.Module) -> int:
    sizes = ("out_features", "out_channels", "num_features", "num_channels")
    found = [
        getattr(module, name) for name in sizes if isinstance(getattr(module, name, None), int)
    ]
    return int(found[0] if found else module.normalized_shape[0])  # type: ignore[index]


def _operations(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the operations: convolutions, linear layers, and norms with weights."""
    kinds = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    for module in backbone.modules():
        if isinstance(module, kinds) and getattr(module, "weight", None) is not None:
            yield module


@register("ssf")
@dataclass(frozen=True)
class SSF(Method):
    """Scale (1 at the start) and shift (0) after the patch embedding, norms and linear layers.

    Deviation: the paper draws scale from N(1, .02) and shift from N(0, .02); exact ones and zeros
    make step 0 the backbone. On CLIP `norm_pre` has a pair too (the OSU code has none there).
    """

    display = "SSF"
    family = "Selective"
    works = (PAPER,)
    passage = "eq. 3"
    lr = 2e-3
    ranges = (Range("lr", 1e-3, 1e-2, "train_scripts/vit of github.com/dongzelian/SSF"),)
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Scale and shift every operation."""
        for module in list(_operations(backbone)):
            ones = torch.ones(_channels(module)).to(module.weight)  # type: ignore[arg-type]
            scale, shift = nn.Parameter(ones), nn.Parameter(torch.zeros_like(ones))
            seams.extend(module, ScaleShift, scale=scale, shift=shift)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where a layer is read and never called."""
        if any(families.outer_qkv_bias(block) for block in families.blocks(backbone)):
            return "its attention reads the weight of qkv and keeps the bias elsewhere"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return twice the output channels, summed over operations."""
        return sum(2 * _channels(module) for module in _operations(backbone))

    def fold(self, module: nn.Module) -> nn.Module:
        """Fold scale and shift into the weights."""
        for part in [m for m in module.modules() if isinstance(m, ScaleShift)]:
            part.fold()
            seams.restore(part, "scale", "shift")
        return module
