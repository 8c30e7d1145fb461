"""AdaptFormer: a scaled bottleneck in parallel to the MLP of each block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from methods import families, seams
from methods.base import Method, positive, register
from methods.parts import adapters


@register("adaptformer")
@dataclass(frozen=True)
class AdaptFormer(Method):
    """`MLP(LN x) + s W_up relu(W_down LN x)` (eq. 2 and 3), s = 0.1.

    The adapter reads what the MLP reads, as the paper's equation says; its code reads the
    residual before the norm.
    """

    bottleneck: int = 64
    scale: float = 0.1

    paper = "Chen et al. 2022, AdaptFormer, arXiv 2205.13535, eq. 2-3"
    lr = 2e-3

    def __post_init__(self) -> None:
        positive(bottleneck=self.bottleneck)

    def edit(self, backbone: nn.Module) -> None:
        """Add one adapter per block."""
        for block in families.blocks(backbone):
            width = families.width(block)
            bottleneck = adapters.Bottleneck(width, self.bottleneck, "relu", self.scale)
            adapters.add(block, "mlp", seams.Parallel, bottleneck)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks lack an MLP."""
        return adapters.missing(backbone, "mlp")

    def count(self, backbone: nn.Module) -> int:
        """Return 2 d b + b + d, summed over blocks."""
        blocks = families.blocks(backbone)
        return sum(adapters.size(families.width(block), self.bottleneck) for block in blocks)
