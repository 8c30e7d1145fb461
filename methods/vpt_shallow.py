"""VPT-shallow: prompts at the input of the first block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from methods import families
from methods.base import Count, Method, OneOf, later, register
from methods.parts import prompts
from methods.vpt_deep import VPT


@register("vpt_shallow")
@dataclass(frozen=True)
class VPTShallow(Method):
    """m learnable tokens join the sequence after the prefix tokens and stay (eq. 4-6)."""

    prompts: Count = 50
    start: Annotated[str, OneOf(prompts.STARTS)] = later("uniform", recorded="normal")

    display = "VPT-shallow"
    family = "Prompts"
    works = (VPT,)
    passage = "eq. 4-6"
    identity = False
    lr = 3e-3

    def edit(self, backbone: nn.Module) -> None:
        """Insert the prompts at the input."""
        width = families.width(families.blocks(backbone)[0])
        tokens = prompts.drawn(backbone, self.start, self.prompts, width)
        # after the positions are added: prompts have no place in the image
        prompts.insert_at_input(backbone, self.prompts, prompts=tokens)

    def inserted(self, backbone: nn.Module) -> int:
        """Return m."""
        return self.prompts

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where tokens cannot be added."""
        return prompts.no_sequence(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return m d."""
        return self.prompts * families.width(families.blocks(backbone)[0])
