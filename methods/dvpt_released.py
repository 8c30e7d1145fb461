"""DVPT as the authors' released code runs, which differs from the paper's text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.base import Count, Method, later, register
from methods.dvpt import DVPT_PAPER
from methods.parts import prompts
from methods.parts.beside import put_beside_mlp
from methods.parts.bottlenecks import GatedBottleneck, attend, shared
from methods.parts.extensions import SwinBlockExtension


class PromptedAttention(SwinBlockExtension):
    """A Swin block whose attention output gets what prompts read from it on its first tokens."""

    prompts: nn.Parameter

    def _attn(self, x: Tensor) -> Tensor:
        """Return a (B, H, W, C) with softmax(P a^T / sqrt C) a added to its first m tokens."""
        out = super()._attn(x)
        tokens = out.flatten(1, 2)
        # the last stage of a small image can have fewer tokens than there are prompts
        num = min(len(self.prompts), tokens.shape[1])
        first = tokens[:, :num] + attend(self.prompts, tokens)[:, :num]
        return torch.cat([first, tokens[:, num:]], 1).view_as(out)


@register("dvpt_released")
@dataclass(frozen=True)
class DVPTReleased(Method):
    """Static prompts and shared gated bottlenecks (ViT), prompted attention (Swin).

    ViT: prompts with position vectors at the input, and a gated bottleneck shared by three blocks;
    the cross-attention of that code is computed and dropped, so it is left out. Swin: per block,
    prompts attend over the attention's output, and the result is added to its first tokens.

    On CLIP the prompts pass through `norm_pre` (their `ln_pre`) with the tokens; `normed=False` is
    what records from before the field computed. None is the authors' own number: 50 prompts of
    width 20 on ViT, 10 of width 10 on Swin.

    Deviations: prompts follow CLS instead of preceding it (the same function: attention has no
    order); the common head replaces the mean of prompts and CLS; the biases of the bottlenecks
    start at zero, not at PyTorch's random default; gates get no weight decay.
    """

    bottleneck: Count | None = None
    prompts: Count | None = None
    share: Count = 3
    normed: bool = later(True, recorded=False)

    display = "DVPT (released code)"
    family = "Prompts"
    works = (DVPT_PAPER,)
    passage = "the released code, commit 180a4a4"
    identity = False
    lr = 3e-3

    def edit(self, backbone: nn.Module) -> None:
        """Share bottlenecks within stages, then add the prompts of the family."""
        num, bottleneck = self._sizes(backbone)
        for stage in families.stages(backbone):
            for run in shared(stage, self.share):
                module = GatedBottleneck(families.width(run[0]), bottleneck)
                for block in run:
                    put_beside_mlp(block, module)
        width = families.width(families.blocks(backbone)[0])
        if families.family(backbone).sequence:
            # their code draws positions like CLIP's: N(0, 1) / sqrt(d), and the prompts N(0, 1)
            positions = prompts.normal(num, width, std=width**-0.5)
            tokens = prompts.normal(num, width, std=1.0)
            parameters = {"prompts": tokens, "prompt_positions": positions}
            prompts.insert_at_input(backbone, num, normed=self.normed, **parameters)
            return
        for block in families.blocks(backbone):
            tokens = prompts.normal(num, families.width(block), std=0.02)
            seams.extend(block, PromptedAttention, prompts=tokens)

    def inserted(self, backbone: nn.Module) -> int:
        """Return m on ViT; on Swin nothing is inserted."""
        return self._sizes(backbone)[0] if families.family(backbone).sequence else 0

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason for what is neither a plain ViT nor a Swin."""
        found = families.find(backbone)
        if found and (found.sequence or found.windows):
            return None
        return "the authors released it for ViT and Swin only (their SegFormer adapts the decoder)"

    def count(self, backbone: nn.Module) -> int:
        """Return bottlenecks and gates, plus 2 m d (ViT) or m d summed over blocks (Swin)."""
        m, r = self._sizes(backbone)
        total = 0
        for stage in families.stages(backbone):
            width = families.width(stage[0])
            total += -(-len(stage) // self.share) * (2 * width * r + r + width + 1)
        blocks = families.blocks(backbone)
        if families.family(backbone).sequence:
            return total + 2 * m * families.width(blocks[0])
        return total + sum(m * families.width(block) for block in blocks)

    def _sizes(self, backbone: nn.Module) -> tuple[int, int]:
        """Return (prompts, bottleneck)."""
        num, bottleneck = (50, 20) if families.family(backbone).sequence else (10, 10)
        return self.prompts or num, self.bottleneck or bottleneck
