"""DiffFit: biases, norm scales, and a scale on the output of every branch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Method, register
from methods.norm import affine
from methods.parts import adapters

PAPER = Citation(
    (
        "Xie, Enze",
        "Yao, Lewei",
        "Shi, Han",
        "Liu, Zhili",
        "Zhou, Daquan",
        "Liu, Zhaoqiang",
        "Li, Jiawei",
        "Li, Zhenguo",
    ),
    "DiffFit: Unlocking Transferability of Large Diffusion Models via Simple Parameter-Efficient "
    "Fine-Tuning",
    2023,
    "IEEE/CVF International Conference on Computer Vision",
    "inproceedings",
    arxiv="2304.06648",
)


class ScaledOutput(seams.Extension):
    """`gamma * branch(x)`, one value per channel."""

    gamma: nn.Parameter

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the scaled output (..., C)."""
        return super().forward(*args, **kwargs) * self.gamma


@register("diffit")
@dataclass(frozen=True)
class DiffFit(Method):
    """All biases, the scales of all norms, and gamma (1 at the start) after attention and MLP.

    Deviation: the paper's class embedding has no counterpart here.
    """

    display = "DiffFit"
    family = "Selective"
    works = (PAPER,)
    passage = "sec. 3.3 and eq. 4"
    lr = 1e-3

    def edit(self, backbone: nn.Module) -> None:
        """Train biases and norms, and scale the branches."""
        for module, name in families.bias_owners(backbone):
            getattr(module, name).requires_grad_(True)
        # norm biases are among the biases above; the count takes each tensor once
        for parameter in affine(backbone):
            parameter.requires_grad_(True)
        for block in families.blocks(backbone):
            for name in adapters.BRANCHES:
                gamma = nn.Parameter(torch.ones(families.width(block)))
                seams.extend(adapters.at(block, name), ScaledOutput, gamma=gamma)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack attention or MLP."""
        return adapters.missing(backbone, *adapters.BRANCHES)

    def count(self, backbone: nn.Module) -> int:
        """Return biases and norm scales, each once, plus 2 d per block."""
        own = {id(p): p.numel() for p in affine(backbone)}
        own |= {
            id(b): b.numel()
            for m, name in families.bias_owners(backbone)
            for b in [getattr(m, name)]
        }
        return sum(own.values()) + sum(2 * families.width(b) for b in families.blocks(backbone))
