"""Linear probe: nothing but the task's head is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from methods.base import Method, register


@register("linear")
@dataclass(frozen=True)
class Linear(Method):
    """The backbone stays frozen; in segmentation the head is the harness's pyramid head."""

    display = "Linear probe"
    family = "Reference"
    paper = "reference: linear probe"
    lr = 1e-2
    mergeable = True

    def edit(self, backbone: nn.Module) -> None:
        """Train nothing of the backbone."""

    def count(self, backbone: nn.Module) -> int:
        """Return 0."""
        return 0

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: nothing was added."""
        return module
