"""VPT-deep: prompts of its own for every block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Method, OneOf, later, register
from methods.parts import prompts
from methods.parts.adapters import at

VPT = Citation(
    (
        "Jia, Menglin",
        "Tang, Luming",
        "Chen, Bor-Chun",
        "Cardie, Claire",
        "Belongie, Serge",
        "Hariharan, Bharath",
        "Lim, Ser-Nam",
    ),
    "Visual Prompt Tuning",
    2022,
    "European Conference on Computer Vision",
    "inproceedings",
    arxiv="2203.12119",
)


@register("vpt_deep")
@dataclass(frozen=True)
class VPTDeep(Method):
    """m learnable tokens enter each block and leave it again (eq. 7-8); in Swin, each window.

    In Swin the prompts pass through `norm1` with the tokens, as in the authors' code; records from
    before `normed` existed computed without.
    """

    prompts: Count = 10
    start: Annotated[str, OneOf(prompts.STARTS)] = later("uniform", recorded="normal")
    normed: bool = later(True, recorded=False)

    display = "VPT-deep"
    family = "Prompts"
    works = (VPT,)
    passage = "eq. 7-8"
    identity = False
    lr = 1e-3

    def edit(self, backbone: nn.Module) -> None:
        """Give each block (Swin: each attention) its prompts."""
        windows = families.family(backbone).windows
        for block in families.blocks(backbone):
            tokens = prompts.drawn(backbone, self.start, self.prompts, families.width(block))
            # windows of Swin hold no prefix tokens, and prompts enter every one of them anew
            if windows:
                attention, norms = at(block, "attn"), (block.norm1,) if self.normed else ()
                prompts.pad_window(attention, self.prompts)
                seams.extend(attention, prompts.PromptsInWindow, prompts=tokens, norms=norms)
                continue
            position = backbone.num_prefix_tokens
            seams.extend(block, prompts.PromptsInBlock, prompts=tokens, position=position)
            prompts.skip_in_rotation(block, self.prompts)

    def inserted(self, backbone: nn.Module) -> int:
        """Return m."""
        return self.prompts

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where neither sequence nor windows take tokens."""
        found = families.find(backbone)
        return None if found and found.windows else prompts.no_sequence(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return m d, summed over blocks."""
        return sum(self.prompts * families.width(block) for block in families.blocks(backbone))
