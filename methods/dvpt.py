"""DVPT: dynamic visual prompt tuning, as the paper's text describes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from benchmark.core.registry import unknown
from methods import families
from methods.base import Method, positive, register
from methods.parts import prompts
from methods.parts.bottlenecks import (
    AttendBottleneck,
    GatedBottleneck,
    RowsBottleneck,
    put_beside_mlp,
    shared,
)


@register("dvpt")
@dataclass(frozen=True)
class DVPT(Method):
    """Prompts read each image in a bottleneck and are projected back into the frozen stream.

    With u the residual entering the MLP: Z = QuickGELU(u W_d + b_d), A = softmax(Q Z^T / sqrt r) Z,
    s' = u + MLP(LN u) + g (Y W_u + b_u), g = 0 at the start. `merge="rows"`: prompt tokens stand
    in the sequence, Q are their rows of Z, A replaces them. `merge="attend"`: Q is learnable,
    Y = Z + softmax(Z A^T / sqrt r) A, no token is added. `auto`: rows where tokens can be added.
    `share` blocks of one stage use one module; `attention=False` is the control without A.

    The text leaves the merge, the gate's start and the initialisation open: settled here once.
    """

    bottleneck: int = 20
    prompts: int = 50
    share: int = 1
    merge: str = "auto"
    attention: bool = True

    paper = "He et al. 2025, DVPT, Neural Networks 185:107168, arXiv 2307.09787"
    lr = 2e-3

    def __post_init__(self) -> None:
        positive(bottleneck=self.bottleneck, prompts=self.prompts, share=self.share)
        if self.merge not in ("auto", "rows", "attend"):
            raise unknown("merge of dvpt", self.merge, ("auto", "rows", "attend"))

    def edit(self, backbone: nn.Module) -> None:
        """Put the modules beside the MLPs, and in `rows` the prompts into the sequence."""
        rows = self._rows(backbone)
        position = int(backbone.num_prefix_tokens) if rows else 0  # type: ignore[arg-type]
        stages = families.stages(backbone)
        for stage in stages:
            for run in shared(stage, self.share):
                module = self._module(families.width(run[0]), rows, position)
                for block in run:
                    put_beside_mlp(block, module, last=block is stages[-1][-1])
        if rows:
            tokens = prompts.normal(self.prompts, families.width(stages[0][0]), std=0.02)
            prompts.insert_at_input(backbone, self.prompts, prompts=tokens)

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
        takes_tokens = prompts.no_sequence(backbone) is None
        return self.merge == "rows" or (self.merge == "auto" and takes_tokens)

    def _module(self, width: int, rows: bool, position: int) -> GatedBottleneck:
        if not self.attention:
            return GatedBottleneck(width, self.bottleneck)
        if rows:
            return RowsBottleneck(width, self.bottleneck, position, self.prompts)
        return AttendBottleneck(width, self.bottleneck, self.prompts)
