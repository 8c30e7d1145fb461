"""DVPT: dynamic visual prompt tuning, as the paper's text describes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from torch import nn

from benchmark.core.citation import OTHERS, Citation
from methods import families
from methods.base import Count, Method, OneOf, later, register
from methods.parts import prompts
from methods.parts.backbone import as_backbone
from methods.parts.beside import put_beside_mlp
from methods.parts.bottlenecks import (
    AttendBottleneck,
    GatedBottleneck,
    RowsBottleneck,
    shared,
)

DVPT_PAPER = Citation(
    ("He, Along", OTHERS),
    "DVPT: Dynamic Visual Prompt Tuning of large pre-trained models for medical image analysis",
    2025,
    "Neural Networks 185:107168",
    "article",
    arxiv="2307.09787",
    doi="10.1016/j.neunet.2025.107168",
)

MERGES = ("auto", "rows", "attend")
STARTS = ("gate", "fast_gate", "up")


@register("dvpt")
@dataclass(frozen=True)
class DVPT(Method):
    """Prompts read each image in a bottleneck and are projected back into the frozen stream.

    With u the residual entering the MLP: Z = QuickGELU(u W_d + b_d), A = softmax(Q Z^T / sqrt r) Z,
    s' = u + MLP(LN u) + g (Y W_u + b_u). `merge="attend"`: Q is learnable and
    Y = Z + softmax(Z A^T / sqrt r) A; no token is added, and step 0 is the backbone.
    `merge="rows"` (plain ViT): prompt tokens are in the sequence, Q are their rows of Z, A replaces
    them. "auto" was the default of older records: rows where tokens can be added, else attend.
    `share` blocks of one stage use one module; `attention=False` is the control without A.

    The text leaves merge and start open. Balanced accuracy on BUSI with 40 % of the labels (three
    seeds, 100 steps, 16 image tokens): rows with 50 prompts 48.8, attend 64.0, LoRA 67.3; rows
    insert more tokens than the image has, and take twice the time. Starts, test scores of the
    same setting: BUSI seeds 0 and 1, "gate" 72.2 63.8, "fast_gate" 73.8 49.7, "up" 55.9 56.6;
    kappa of the phantoms, seed 0: 64.6, 67.7, 80.2. None leads on both, so "gate" stays.
    """

    bottleneck: Count = 20
    prompts: Count = 50
    share: Count = 1
    merge: Annotated[str, OneOf(MERGES)] = "attend"
    attention: bool = True
    start: Annotated[str, OneOf(STARTS)] = later("gate", recorded="gate")

    display = "DVPT"
    family = "Prompts"
    works = (DVPT_PAPER,)
    passage = "as the text describes it"
    lr = 2e-3

    def edit(self, backbone: nn.Module) -> None:
        """Put the modules beside the MLPs, and in `rows` the prompts into the sequence."""
        rows = self._rows(backbone)
        position = as_backbone(backbone).num_prefix_tokens if rows else 0
        stages = families.stages(backbone)
        for stage in stages:
            for run in shared(stage, self.share):
                module = self._module(families.width(run[0]), rows, position)
                for block in run:
                    # nobody reads the prompt rows of the last block: attention would be idle
                    last = rows and self.attention and block is stages[-1][-1]
                    put_beside_mlp(block, module, **({"last": True} if last else {}))
        if rows:
            tokens = prompts.normal(self.prompts, families.width(stages[0][0]), std=0.02)
            prompts.insert_at_input(backbone, self.prompts, prompts=tokens)

    def inserted(self, backbone: nn.Module) -> int:
        """Return m in `rows`."""
        return self.prompts if self._rows(backbone) else 0

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where there is no MLP sub-layer, or no room for `rows`."""
        blocks = families.blocks(backbone)
        if not blocks or any(families.residual(block) == "none" for block in blocks):
            return "its blocks have no MLP sub-layer to stand beside"
        return prompts.no_sequence(backbone) if self.merge == "rows" else None

    def count(self, backbone: nn.Module) -> int:
        """Return sum_s n_s (2 d_s r + r + d_s + 1) + m d (rows) or + n m r (attend).

        n_s = ceil(blocks of stage s / share). Without attention there are no queries.
        """
        r, m, total = self.bottleneck, self.prompts, 0
        rows = self._rows(backbone)
        queries = 0 if rows or not self.attention else m * r
        for stage in families.stages(backbone):
            width = families.width(stage[0])
            total += -(-len(stage) // self.share) * (2 * width * r + r + width + 1 + queries)
        return total + (m * families.width(families.blocks(backbone)[0]) if rows else 0)

    def is_identity(self, backbone: nn.Module) -> bool:
        """Return whether nothing is inserted: added tokens change frozen attention."""
        return not self._rows(backbone)

    def static(self) -> DVPT | None:
        """Return the control without attention."""
        return replace(self, attention=False) if self.attention else None

    def _rows(self, backbone: nn.Module) -> bool:
        # "auto" keeps the function that older records computed
        takes_tokens = prompts.no_sequence(backbone) is None
        return self.merge == "rows" or (self.merge == "auto" and takes_tokens)

    def _module(self, width: int, rows: bool, position: int) -> GatedBottleneck:
        sizes = (width, self.bottleneck, self.start)
        if not self.attention:
            return GatedBottleneck(*sizes)
        if rows:
            return RowsBottleneck(*sizes, position=position, prompts=self.prompts)
        return AttendBottleneck(*sizes, prompts=self.prompts)
