"""DoRA: low-rank updates of the direction of a weight, and a trained magnitude per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from methods.base import register
from methods.lora import Lora, LowRank
from methods.parts import targets

PAPER = Citation(
    (
        "Liu, Shih-Yang",
        "Wang, Chien-Yi",
        "Yin, Hongxu",
        "Molchanov, Pavlo",
        "Wang, Yu-Chiang Frank",
        "Cheng, Kwang-Ting",
        "Chen, Min-Hung",
    ),
    "DoRA: Weight-Decomposed Low-Rank Adaptation",
    2024,
    "International Conference on Machine Learning",
    "inproceedings",
    arxiv="2402.09353",
)


class Decomposed(LowRank):
    """Each adapted row is `m (w + s B A) / ||w + s B A||`; the norm gets no gradient (sec. 4.3)."""

    lean: ClassVar[bool] = False
    attributes: ClassVar[tuple[str, ...]] = (*LowRank.attributes, "magnitudes")
    magnitudes: nn.ParameterList

    @classmethod
    def start(cls, method: Lora, layer: nn.Linear, parts: list[targets.Rows]) -> dict[str, Any]:
        """Return LoRA's factors, and the magnitudes: the norms of the rows."""
        norms = layer.weight.detach().norm(dim=1)
        magnitudes = (nn.Parameter(norms[start:stop].clone()) for start, stop in parts)
        factors = super().start(method, layer, parts)
        return {**factors, "magnitudes": nn.ParameterList(magnitudes)}

    @property
    def weight(self) -> Tensor:
        """Return the effective weight (out, in)."""
        return self._gains()[:, None] * self.low_rank_weight()

    def _gains(self) -> Tensor:
        """Return (out,) of m / ||w + s B A|| in adapted rows, 1 elsewhere."""
        # detached as the authors do (sec. 4.3): it saves memory and hardly changes the gradient
        norms = self.low_rank_weight().detach().norm(dim=1)
        gains, end = [], 0
        for (start, stop), magnitude in zip(self.parts, self.magnitudes, strict=True):
            gains += [torch.ones_like(norms[end:start]), magnitude / norms[start:stop]]
            end = stop
        return torch.cat([*gains, torch.ones_like(norms[end:])])

    def updates(self, x: Tensor) -> list[Tensor]:
        """Return what is added to `W x` in each part: (gain - 1) W x + gain s B A x."""
        gains = self._gains()
        return [
            (gains[start:stop] - 1) * F.linear(x, self.base_weight[start:stop])
            + gains[start:stop] * low_rank
            for (start, stop), low_rank in zip(self.parts, super().updates(x), strict=True)
        ]


@register("dora")
@dataclass(frozen=True)
class DoRA(Lora):
    """LoRA's fields and targets; W' = m (W + s B A) / ||W + s B A|| per output row.

    The paper's column is a row here: PyTorch stores (out, in). With dropout, (gain - 1) W x takes
    the whole x, where Hugging Face's library takes the dropped one.
    """

    branches = Decomposed
    display = "DoRA"
    family = "Low-rank"
    works = (PAPER,)
    passage = "eq. 5 and sec. 4.3"

    def count(self, backbone: nn.Module) -> int:
        """Return LoRA's count plus the adapted rows."""
        places = targets.places(backbone, self.targets)
        rows = sum(stop - start for _, parts in places for start, stop in parts)
        return super().count(backbone) + rows
