"""NOAH's modules: prompts, LoRA and adapters in every block."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.core.citation import Citation
from methods.base import Count, Method, register
from methods.lora import Lora
from methods.parts.union import Union
from methods.pfeiffer import Pfeiffer
from methods.vpt_deep import VPTDeep

PAPER = Citation(
    ("Zhang, Yuanhan", "Zhou, Kaiyang", "Liu, Ziwei"),
    "Neural Prompt Search",
    2022,
    arxiv="2206.04673",
)


@register("noah")
@dataclass(frozen=True)
class NOAH(Union):
    """VPT-deep, LoRA on q and v, and an adapter after each MLP together (fig. 2).

    Deviations: the whole of the paper's supernet with one size for all blocks; the paper then
    searches a size of each module for every depth. The authors' code has one LoRA on the whole of
    qkv, of the same count, and QuickGELU in the adapter, whose matrices both start as Xavier's
    (ReLU and a zero W_up here).
    """

    prompts: Count = 5
    rank: Count = 4
    bottleneck: Count = 8

    display = "NOAH"
    family = "Mixed"
    works = (PAPER,)
    passage = "fig. 2"
    lr = 1e-3

    def members(self) -> list[Method]:
        """Return prompts, low-rank branches and adapters."""
        lora = Lora(rank=self.rank, alpha=float(self.rank))
        # alpha = rank: a scale of 1; prompts come last, outside of what is adapted
        return [lora, Pfeiffer(self.bottleneck), VPTDeep(self.prompts)]
