"""Attention tuning: all weights of the attention layers are trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods import families
from methods.base import Method, register

PAPER = Citation(
    ("Touvron, Hugo", "Cord, Matthieu", "El-Nouby, Alaaeldin", "Verbeek, Jakob", "Jégou, Hervé"),
    "Three Things Everyone Should Know About Vision Transformers",
    2022,
    "European Conference on Computer Vision",
    "inproceedings",
    arxiv="2203.09795",
)


@register("attention")
@dataclass(frozen=True)
class Attention(Method):
    """Everything inside the attention of every block; MLPs and norms outside of it stay frozen."""

    display = "Attention tuning"
    family = "Selective"
    works = (PAPER,)
    lr = 1e-4
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Train the attention."""
        # the whole branch: norms of q and k, and relative biases, are attention too
        for branch in _attentions(backbone):
            branch.requires_grad_(True)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks have no attention."""
        return None if _attentions(backbone) else "its blocks have no attention to train"

    def count(self, backbone: nn.Module) -> int:
        """Return the number of parameters of all attentions."""
        return sum(p.numel() for branch in _attentions(backbone) for p in branch.parameters())

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: its weights are plain already."""
        return module


def _attentions(backbone: nn.Module) -> list[nn.Module]:
    found = (families.branch(block, "attn") for block in families.blocks(backbone))
    return [branch for branch in found if branch is not None]
