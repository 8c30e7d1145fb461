"""Ladder side tuning: a small network beside the frozen backbone; no gradient runs through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from methods import families
from methods.base import Count, Factor, Method, later, register
from methods.parts.backbone import as_backbone
from methods.parts.extensions import NetworkExtension
from methods.parts.starts import zero
from methods.seams import extend

PAPER = Citation(
    ("Sung, Yi-Lin", "Cho, Jaemin", "Bansal, Mohit"),
    "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning",
    2022,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2206.06522",
)


class Rung(nn.Module):
    """One step of the ladder: mixes the state with a frozen map, and a depthwise 3x3 residual."""

    def __init__(self, channels: int, bottleneck: int, first: bool, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.down = nn.Conv2d(channels, bottleneck, 1)
        # sigmoid 1/2: half state, half map; the first rung has no state to mix in
        self.gate = None if first else nn.Parameter(torch.zeros(()))
        self.depthwise = nn.Conv2d(bottleneck, bottleneck, 3, padding=1, groups=bottleneck)
        self.pointwise = nn.Conv2d(bottleneck, bottleneck, 1)
        self.up = nn.Conv2d(bottleneck, channels, 1)
        zero(self.up)

    def forward(self, state: Tensor | None, features: Tensor) -> Tensor:
        """Return the next state (B, r, H, W) from the last one and a map (B, C, H, W)."""
        # frozen maps of different levels differ in size by orders of magnitude
        read = self.down(F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1))
        if state is not None and self.gate is not None:
            share = (self.gate / self.temperature).sigmoid()
            read = share * _shrunk(state, read.shape[2], read.shape[3]) + (1 - share) * read
        return read + self.pointwise(F.gelu(self.depthwise(read)))


def _shrunk(state: Tensor, height: int, width: int) -> Tensor:
    """Return the means of `state` (B, r, H, W) in each cell of a grid of this height and width.

    The levels of a pyramid shrink, those of a plain ViT do not. Where sides divide, the kernel has
    a deterministic gradient on a GPU; adaptive pooling has none, and --deterministic refuses it.
    """
    rows, columns = state.shape[2] // height, state.shape[3] // width
    if state.shape[2:] == (rows * height, columns * width):
        return F.avg_pool2d(state, (rows, columns))
    return F.adaptive_avg_pool2d(state, (height, width))


class Ladder(NetworkExtension):
    """A backbone whose outputs are its frozen ones plus what the ladder adds, zero at the start."""

    rungs: nn.ModuleList

    def _steps(self) -> list[Rung]:
        return cast(list[Rung], list(self.rungs))

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features (B, D)."""
        final, maps = super().forward_intermediates(x, output_fmt="NCHW")
        states = self._climb(maps)
        # after the head's pooling, which for ViTs takes CLS: the ladder has maps only
        return self.forward_head(final) + self._steps()[-1].up(states[-1]).mean((2, 3))

    def forward_intermediates(self, x: Tensor, indices: Any = None, **kwargs: Any) -> Any:
        """Return the maps asked for, each with its rung's addition."""
        only = kwargs.pop("intermediates_only", False)
        final, maps = super().forward_intermediates(x, **kwargs)
        pairs = zip(maps, self._steps(), self._climb(maps), strict=True)
        raised = [m + rung.up(state) for m, rung, state in pairs]
        if isinstance(indices, int):
            raised = raised[-indices:]
        elif indices is not None:
            raised = [raised[i] for i in indices]
        return raised if only else (final, raised)

    def _climb(self, maps: list[Tensor]) -> list[Tensor]:
        states: list[Tensor] = []
        for rung, features in zip(self._steps(), maps, strict=True):
            states.append(rung(states[-1] if states else None, features))
        return states


@register("lst")
@dataclass(frozen=True)
class LST(Method):
    """Frozen maps feed a narrow side network through learned gates (eq. 1); its result is added.

    Deviations: the side blocks are depthwise convolutions instead of pruned copies of the
    backbone's blocks, so that one definition fits every family; the up-projections start at zero.
    The gates are sigmoid(alpha / T) with the authors' T = .1; T = 1 moves ten times slower.
    """

    bottleneck: Count = 32
    temperature: Factor = later(0.1, recorded=1.0)

    display = "LST"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 1"
    lr = 2e-3
    reads = "maps"

    def edit(self, backbone: nn.Module) -> None:
        """Put one rung beside every map."""
        widths = enumerate(_channels(backbone))
        rungs = nn.ModuleList(
            Rung(width, self.bottleneck, i == 0, self.temperature) for i, width in widths
        )
        extend(backbone, Ladder, rungs=rungs)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where the pooled features are not those of the last map."""
        if families.find(backbone) is None:
            return "the family of this backbone is unknown"
        if _channels(backbone)[-1] != as_backbone(backbone).num_features:
            return "its pooled features have another width than its last map"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return the sum of (c r + r) + (r c + c) + 10 r + (r^2 + r) + 1 over maps, minus 1."""
        r = self.bottleneck
        sizes = [(c * r + r) + (r * c + c) + 10 * r + (r * r + r) + 1 for c in _channels(backbone)]
        return sum(sizes) - 1


def _channels(backbone: nn.Module) -> list[int]:
    return [level["num_chs"] for level in as_backbone(backbone).feature_info]
