"""E2VPT: prompts for every block, and trained keys and values in every attention."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.core.citation import Citation
from methods.base import Count, Method, register
from methods.parts.union import Union
from methods.prefix import Prefix
from methods.vpt_deep import VPTDeep

PAPER = Citation(
    (
        "Han, Cheng",
        "Wang, Qifan",
        "Cui, Yiming",
        "Cao, Zhiwen",
        "Wang, Wenguan",
        "Qi, Siyuan",
        "Liu, Dongfang",
    ),
    "E2VPT: An Effective and Efficient Approach for Visual Prompt Tuning",
    2023,
    "IEEE/CVF International Conference on Computer Vision",
    "inproceedings",
    arxiv="2307.13770",
)


@register("e2vpt")
@dataclass(frozen=True)
class E2VPT(Union):
    """VPT-deep with key and value prompts in every attention (eq. 4-6).

    Deviations: the paper then prunes prompts and segments of them and trains again, which is left
    out; keys and values have prompts of their own, N(0, .02^2) at first (one for both in the
    authors' code, drawn like Kaiming's). It tunes both numbers per task.
    """

    prompts: Count = 10
    keys: Count = 5

    display = "E2VPT"
    family = "Prompts"
    works = (PAPER,)
    passage = "eq. 4-6"
    lr = 1e-3

    def members(self) -> list[Method]:
        """Return keys and values first: the prompts stand outside of the attention."""
        return [Prefix(self.keys), VPTDeep(self.prompts)]
