"""How layers start, where several methods need it. Not a method itself."""

from __future__ import annotations

from torch import nn


def zero(layer: nn.Module) -> None:
    """Set weight and bias of `layer` to zero: what it adds to a frozen stream is nothing at first.

    One matrix of a product may start so, never both: each would get a gradient of zero.
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
