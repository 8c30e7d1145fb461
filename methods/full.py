"""Full fine-tuning: every tensor is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from methods.base import Method, register


@register("full")
@dataclass(frozen=True)
class Full(Method):
    """All parameters; running statistics of batch norm move too. The reference of all methods."""

    display = "Full fine-tuning"
    family = "Reference"
    paper = "reference: full fine-tuning"
    # small, because a larger rate undoes what pre-training found before the head has learned
    lr = 2e-5
    # as fine-tuning is done everywhere; for all other methods the statistics belong to the backbone
    live_batch_norm = True
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Train everything."""
        backbone.requires_grad_(True)

    def count(self, backbone: nn.Module) -> int:
        """Return the number of all parameters."""
        return sum(p.numel() for p in backbone.parameters())

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: its weights are plain already."""
        return module
