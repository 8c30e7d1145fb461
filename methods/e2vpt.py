"""E2VPT: prompts for every block, and trained keys and values in every attention."""

from __future__ import annotations

from dataclasses import dataclass

from methods.base import Method, positive, register
from methods.parts.union import Union
from methods.prefix import Prefix
from methods.vpt_deep import VPTDeep


@register("e2vpt")
@dataclass(frozen=True)
class E2VPT(Union):
    """VPT-deep with key and value prompts in every attention (eq. 4-6).

    Deviations: the paper then prunes prompts and segments of them and trains again, which is left
    out; keys and values have prompts of their own. It tunes both numbers per task.
    """

    prompts: int = 10
    keys: int = 5

    paper = "Han et al. 2023, E2VPT, arXiv 2307.13770, eq. 4-6"
    lr = 1e-3

    def __post_init__(self) -> None:
        positive(prompts=self.prompts, keys=self.keys)

    def members(self) -> list[Method]:
        """Return keys and values first: the prompts stand outside of the attention."""
        return [Prefix(self.keys), VPTDeep(self.prompts)]
