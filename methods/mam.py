"""MAM: prefix tuning in attention and a scaled parallel adapter beside the MLP."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.core.citation import Citation
from methods.adaptformer import AdaptFormer
from methods.base import Count, Factor, Method, register
from methods.parts.union import Union
from methods.prefix import Prefix

PAPER = Citation(
    ("He, Junxian", "Zhou, Chunting", "Ma, Xuezhe", "Berg-Kirkpatrick, Taylor", "Neubig, Graham"),
    "Towards a Unified View of Parameter-Efficient Transfer Learning",
    2022,
    "International Conference on Learning Representations",
    "inproceedings",
    arxiv="2110.04366",
)


@register("mam")
@dataclass(frozen=True)
class MAM(Union):
    """The paper's "mix and match" adapter (sec. 4.6): l = 30 prefixes, parallel width 512, s = 4.

    The width is 64 here (a vision backbone's share, not BART's), prefixes 10; both are fields.
    Prefixes are trained directly, as in `prefix`.
    """

    prompts: Count = 10
    bottleneck: Count = 64
    scale: Factor = 4.0

    display = "MAM adapter"
    family = "Mixed"
    works = (PAPER,)
    passage = "sec. 4.6"
    lr = 1e-3

    def members(self) -> list[Method]:
        """Return the prefixes and the parallel adapters."""
        # without the dropout that AdaptFormer's own default brings
        return [Prefix(self.prompts), AdaptFormer(self.bottleneck, self.scale, dropout=0.0)]
