"""Partial fine-tuning: the last blocks are trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods import families
from methods.base import Count, Method, later, register
from methods.vpt_deep import VPT

PAPER = Citation(
    ("Yosinski, Jason", "Clune, Jeff", "Bengio, Yoshua", "Lipson, Hod"),
    "How transferable are features in deep neural networks?",
    2014,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="1411.1792",
)


@register("partial")
@dataclass(frozen=True)
class Partial(Method):
    """All parameters of the last k blocks, and of the norm of the features behind them.

    The norm is trained as in VPT's code (`partial-k` there keeps the last layers and
    `encoder_norm`, in Swin `norm`; src/models/vit_models.py of github.com/KMnP/vpt); records from
    before `norm` existed trained the blocks alone. Running statistics of batch norm stay as they
    are.
    """

    blocks: Count = 1
    norm: bool = later(True, recorded=False)

    display = "Partial"
    family = "Reference"
    works = (PAPER, VPT)
    lr = 1e-4
    reads = "last"
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Train the last blocks and the norm."""
        for module in self._trained(backbone):
            module.requires_grad_(True)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where there are fewer blocks than asked for."""
        found = len(families.blocks(backbone))
        return (
            f"it has {found} blocks, {self.blocks} are asked for" if found < self.blocks else None
        )

    def count(self, backbone: nn.Module) -> int:
        """Return the number of parameters of the last k blocks and of the norm."""
        return sum(p.numel() for module in self._trained(backbone) for p in module.parameters())

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: its weights are plain already."""
        return module

    def _trained(self, backbone: nn.Module) -> list[nn.Module]:
        norms = families.final_norms(backbone) if self.norm else []
        return [*families.blocks(backbone)[-self.blocks :], *norms]
