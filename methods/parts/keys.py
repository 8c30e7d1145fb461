"""Trained keys and values beside those of the tokens. Not a method itself.

timm's attention is not written anew: m empty tokens enter it, the layer of q, k and v puts the
prompts into their rows, and the rows leave the output again. So relative biases, rotary embeddings,
norms of q and k and fused kernels stay timm's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.parts import prompts
from methods.parts.adapters import at


class PromptedKeys(seams.LinearExtension):
    """A fused qkv whose rows at `position` hold the trained keys and values (m, C) each."""

    prompt_keys: nn.Parameter
    prompt_values: nn.Parameter
    position: int

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, 3 C) for tokens of which m at `position` are empty."""
        out = super().forward(x)
        # zero queries: what an empty row reads is thrown away, so its query costs nothing to store
        rows = torch.cat(
            [torch.zeros_like(self.prompt_keys), self.prompt_keys, self.prompt_values], -1
        )
        start, stop = self.position, self.position + len(rows)
        rows = rows.to(out.dtype).expand(len(out), -1, -1)
        return torch.cat([out[:, :start], rows, out[:, stop:]], 1)


class MoreKeys(seams.Extension):
    """An attention over m more keys and values than tokens."""

    key_position: int
    num_keys: int

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return (B, N, C) for (B, N, C)."""
        empty = x.new_zeros(self.num_keys, x.shape[-1])
        out = super().forward(seams.insert(x, empty, self.key_position), *args, **kwargs)
        return seams.remove(out, self.num_keys, self.key_position)


class MoreKeysInWindow(prompts.PaddedWindow, MoreKeys):
    """The same for the windows of Swin, whose bias and mask do not reach the prompts."""


def add(backbone: nn.Module, block: nn.Module, keys: nn.Parameter, values: nn.Parameter) -> None:
    """Give the attention of `block` trained keys and values (m, C)."""
    windows = families.family(backbone).windows
    # behind the prefix tokens, where rotary attention expects rows without a place
    position = 0 if windows else int(getattr(backbone, "num_prefix_tokens", 0))
    attention, layer = at(block, "attn"), families.linear(block, "qkv")
    assert layer is not None
    seams.extend(layer, PromptedKeys, prompt_keys=keys, prompt_values=values, position=position)
    kind = MoreKeysInWindow if windows else MoreKeys
    seams.extend(attention, kind, key_position=position, num_keys=len(keys))
    if windows:
        prompts.pad_window(attention, len(keys))
    else:
        prompts.skip_in_rotation(block, len(keys))


def missing(backbone: nn.Module) -> str | None:
    """Return why no keys can be added in `backbone`, or None."""
    found = families.find(backbone)
    if not (found and found.windows) and (reason := prompts.no_sequence(backbone)):
        return reason
    blocks = families.blocks(backbone)
    # those families multiply by the layer's weight themselves: an extended forward is never called
    if any(families.outer_qkv_bias(b) or families.linear(b, "qkv") is None for b in blocks):
        return "its attention has no fused layer of q, k and v that is called"
    return None
