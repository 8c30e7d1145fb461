"""LoRA+: LoRA whose B learns faster than its A."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.core.citation import Citation
from methods.base import Factor, register
from methods.lora import Lora

PAPER = Citation(
    ("Hayou, Soufiane", "Ghosh, Nikhil", "Yu, Bin"),
    "LoRA+: Efficient Low Rank Adaptation of Large Models",
    2024,
    "International Conference on Machine Learning",
    "inproceedings",
    arxiv="2402.12354",
)


@register("lora_plus")
@dataclass(frozen=True)
class LoraPlus(Lora):
    """LoRA with a learning rate `ratio` times as high for B.

    Adam's step does not depend on the size of a gradient, so a B that is multiplied by `ratio`
    where it is used moves as one whose rate is multiplied: LoRA of `ratio` times the alpha is the
    same run, but for Adam's epsilon, for the decay of B, which stays that of the rate of A, and for
    clipping, which sees the gradient of B `ratio` times as long. The harness has one rate for all
    methods; this keeps it so.
    """

    ratio: Factor = 16.0

    display = "LoRA+"
    family = "Low-rank"
    works = (PAPER,)
    passage = "sec. 4"
    lr = 5e-4

    @property
    def scaling(self) -> float:
        """Return the factor of the branch."""
        # not a second parameter group: rates belong to the harness, which treats all methods alike
        return self.ratio * super().scaling
