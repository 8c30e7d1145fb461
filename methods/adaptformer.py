"""AdaptFormer: a scaled bottleneck in parallel to the MLP of each block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Factor, Method, OneOf, Range, Share, later, register
from methods.parts import adapters
from methods.parts.beside import put_beside_mlp

PAPER = Citation(
    (
        "Chen, Shoufa",
        "Ge, Chongjian",
        "Tong, Zhan",
        "Wang, Jiangliu",
        "Song, Yibing",
        "Wang, Jue",
        "Luo, Ping",
    ),
    "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition",
    2022,
    "Advances in Neural Information Processing Systems",
    "inproceedings",
    arxiv="2205.13535",
)


@register("adaptformer")
@dataclass(frozen=True)
class AdaptFormer(Method):
    """`MLP(LN x) + s W_up relu(W_down LN x)` (eq. 2 and 3), s = 0.1.

    `reads_from="norm"`: the adapter reads what the MLP reads, as the paper's equation says;
    "residual": what the authors' code reads, the stream before the norm, and outside LayerScale.
    """

    bottleneck: Count = 64
    scale: Factor = 0.1
    dropout: Share = later(0.1, recorded=0.0)
    reads_from: Annotated[str, OneOf(("norm", "residual"))] = later("norm", recorded="norm")

    display = "AdaptFormer"
    family = "Adapters"
    works = (PAPER,)
    passage = "eq. 2-3"
    lr = 2e-3
    ranges = (
        Range(
            "scale",
            0.01,
            10,
            "the authors keep .1; tuned up to 10 per task by Jie et al. 2023, arXiv:2307.16867, "
            "binary_adapter/configs of github.com/JieShibo/PETL-ViT",
        ),
    )

    def edit(self, backbone: nn.Module) -> None:
        """Add one adapter per block."""
        for block in families.blocks(backbone):
            width = families.width(block)
            adapter = adapters.Bottleneck(width, self.bottleneck, "relu", self.scale, self.dropout)
            # beside the whole sub-layer, since the norm lies inside of the block's own sum
            if self.reads_from == "residual":
                put_beside_mlp(block, adapter)
            else:
                adapters.add(block, "mlp", seams.Parallel, adapter)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack an MLP."""
        return adapters.missing(backbone, "mlp")

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d b + b + d, summed over blocks."""
        blocks = families.blocks(backbone)
        return sum(adapters.size(families.width(block), self.bottleneck) for block in blocks)
