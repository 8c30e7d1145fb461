"""What prompt methods share: where tokens can stand in a sequence. Not a method itself.

Legend: B images, N tokens, P prefix tokens (CLS, registers), m prompts, C width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods import families, seams


class PromptsAtInput:
    """Inserts the prompts after the prefix tokens, where `norm_pre` ends the embedding."""

    prompts: nn.Parameter
    position: int

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N + m, C); `prompt_rows` is what is inserted."""
        x = super().forward(x)  # type: ignore[misc]
        return seams.insert(x, prompt_rows(self), self.position)  # type: ignore[arg-type]


def prompt_rows(module: nn.Module) -> Tensor:
    """Return the inserted rows (m, C): prompts, plus their position vectors if there are any."""
    positions = getattr(module, "prompt_positions", None)
    prompts = module.prompts
    assert isinstance(prompts, Tensor)
    return prompts if positions is None else prompts + positions


def insert_at_input(backbone: nn.Module, num: int, **parameters: nn.Parameter) -> None:
    """Make `num` prompts part of the sequence of every block.

    `num_prefix_tokens` grows with them, so that timm's own pooling, and its splitting of prefix
    and patch tokens for dense features, leave them out; rotary embeddings skip them as well.
    """
    position = int(backbone.num_prefix_tokens)  # type: ignore[arg-type]
    assert isinstance(backbone.norm_pre, nn.Module)
    seams.extend(backbone.norm_pre, PromptsAtInput, position=position, **parameters)
    backbone.num_prefix_tokens = position + num  # type: ignore[assignment]
    for block in families.blocks(backbone):
        skip_in_rotation(block, num)


def skip_in_rotation(block: nn.Module, num: int) -> None:
    """Tell rotary attention that `num` more tokens have no place in the image."""
    attention = families.branch(block, "attn")
    if attention is not None and hasattr(attention, "num_prefix_tokens"):
        attention.num_prefix_tokens += num  # type: ignore[operator,assignment]


def no_sequence(backbone: nn.Module) -> str | None:
    """Return why no token can be added to the sequence of `backbone`, or None."""
    found = families.find(backbone)
    if found is not None and found.sequence:
        return None
    name = found.name if found else type(backbone).__name__
    return f"no token can be added to the sequence of a {name} backbone"


class PromptsInBlock:
    """Inserts prompts after the prefix tokens of a block's input, drops them from its output."""

    prompts: nn.Parameter
    position: int

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return (B, N, C) for (B, N, C)."""
        x = seams.insert(x, self.prompts, self.position)
        x = super().forward(x, *args, **kwargs)  # type: ignore[misc]
        return seams.remove(x, len(self.prompts), self.position)


class PromptsInWindow:
    """The same for the windows of Swin: no prompt has a relative position or a mask."""

    prompts: nn.Parameter

    def _get_rel_pos_bias(self) -> Tensor:
        num = len(self.prompts)
        bias = super()._get_rel_pos_bias()  # type: ignore[misc]
        return nn.functional.pad(bias, (num, 0, num, 0))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B * windows, N, C) for the same."""
        num = len(self.prompts)
        if mask is not None:
            mask = nn.functional.pad(mask, (num, 0, num, 0))
        x = super().forward(seams.insert(x, self.prompts, 0), mask)  # type: ignore[misc]
        return seams.remove(x, num, 0)


def normal(*shape: int, std: float) -> nn.Parameter:
    """Return a parameter drawn from N(0, std^2)."""
    return nn.Parameter(torch.randn(*shape) * std)
