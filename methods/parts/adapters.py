"""The bottleneck that adapter methods share, and where they put it. Not a method itself.

Adapters at a branch stand inside its LayerScale where a backbone has one (DINOv2), so gamma
multiplies what they add.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from methods import families, seams
from methods.parts import lean
from methods.parts.starts import zero

Branch = Literal["attn", "mlp"]
BRANCHES: tuple[Branch, ...] = ("attn", "mlp")


class Bottleneck(nn.Module):
    """`scale * (act(x W_down + b_down) W_up + b_up)` on the last axis; zero at the start.

    W_up is zero and W_down random (as in LoRA): with both zero nothing but b_up would ever move.
    `dropout` drops activations in training.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        act: Literal["gelu", "relu"] = "gelu",
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.act = F.gelu if act == "gelu" else F.relu
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapter's output for `x` (..., C)."""
        return self.scale * self.up(self.activated(self.down(x)))

    def onto(self, base: Tensor, x: Tensor) -> Tensor:
        """Return `base` (..., C) plus the adapter's output for `x`, leaner than the sum."""
        hidden = lean.linear(x, self.down.weight, self.down.bias)
        return lean.add_up(base, self.activated(hidden), self.up, self.scale)

    def activated(self, hidden: Tensor) -> Tensor:
        """Return the activations (..., b), some dropped in training."""
        return F.dropout(self.act(hidden), self.dropout, self.training)


def size(width: int, bottleneck: int) -> int:
    """Return the values in one bottleneck: 2 d b + b + d."""
    return 2 * width * bottleneck + bottleneck + width


def add(block: nn.Module, branch: Branch, mixin: type, adapter: nn.Module) -> None:
    """Put `adapter` at a branch of `block`."""
    if mixin is not seams.Serial:  # which reads the branch's output, that nothing made from a norm
        lean.remake(families.source(block, branch))
    seams.extend(at(block, branch), mixin, adapter=adapter)


def at(block: nn.Module, branch: Branch) -> nn.Module:
    """Return the branch of a block; `unsupported` has made sure that there is one."""
    module = families.branch(block, branch)
    assert module is not None
    return module


def missing(backbone: nn.Module, *branches: Branch, reads_input: bool = False) -> str | None:
    """Return why adapters have no place in `backbone`, or None.

    `reads_input`: they read what enters a branch, which in Hiera's attention has another width and
    number of tokens than what leaves it.
    """
    blocks = families.blocks(backbone)
    if reads_input and families.widens(backbone):
        return "its attention takes in another width than it gives out"
    for name in branches:
        part = "attention" if name == "attn" else "MLP"
        if not blocks or any(families.branch(block, name) is None for block in blocks):
            return f"its blocks have no {part} branch to adapt"
    if any(families.linear(block, "fc1") is None for block in blocks):
        return "its MLP is made of convolutions, an adapter needs channels last"
    return None
