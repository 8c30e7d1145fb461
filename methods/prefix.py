"""Prefix tuning: trained keys and values in every attention."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods import families
from methods.base import Count, Method, register
from methods.parts import keys, prompts

PAPER = Citation(
    ("Li, Xiang Lisa", "Liang, Percy"),
    "Prefix-Tuning: Optimizing Continuous Prompts for Generation",
    2021,
    "Annual Meeting of the Association for Computational Linguistics",
    "inproceedings",
    arxiv="2101.00190",
)


@register("prefix")
@dataclass(frozen=True)
class Prefix(Method):
    """Each attention reads `prompts` more keys and values, trained (eq. 3).

    Deviation: they are trained directly, without the paper's network that makes them; in Swin each
    window reads them.
    """

    prompts: Count = 10

    display = "Prefix tuning"
    family = "Prompts"
    works = (PAPER,)
    passage = "eq. 3"
    identity = False
    lr = 2e-3

    def edit(self, backbone: nn.Module) -> None:
        """Add keys and values to every attention."""
        for block in families.blocks(backbone):
            width = families.width(block)
            # small at first: a random key of full size would take attention away from the image
            drawn = [prompts.normal(self.prompts, width, std=0.02) for _ in range(2)]
            keys.add(backbone, block, *drawn)

    def inserted(self, backbone: nn.Module) -> int:
        """Return m."""
        return self.prompts

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where no keys can be added."""
        return keys.missing(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return 2 m d, summed over blocks."""
        return sum(2 * self.prompts * families.width(block) for block in families.blocks(backbone))
