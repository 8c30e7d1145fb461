"""Adapters on the input of a branch. Not a method itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from methods import seams


class AdaptedInput(seams.Extension):
    """`branch(adapter(x))`."""

    adapter: nn.Module

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the branch's output for the adapted input."""
        return super().forward(self.adapter(x), *args, **kwargs)
