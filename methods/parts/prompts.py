"""What prompt methods share: where tokens can stand in a sequence. Not a method itself.

Legend: B images, N tokens, P prefix tokens (CLS, registers), m prompts, C width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods import families, seams
from methods.parts.backbone import as_backbone
from methods.parts.extensions import NetworkExtension, WindowExtension


class PromptsAtInput(seams.Extension):
    """Inserts the prompts after the prefix tokens, where `norm_pre` ends the embedding.

    `normed` sends them through `norm_pre` too; it is the identity but in CLIP's networks.
    """

    prompts: nn.Parameter
    position: int
    normed: bool

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N + m, C); `prompt_rows` is what is inserted."""
        rows = prompt_rows(self)
        if self.normed:
            rows = super().forward(rows)
        x = super().forward(x)
        return seams.insert(x, rows, self.position)


class OwnPrefix(NetworkExtension):
    """A backbone of dynamic image size, whose position table does not know of the prompts."""

    num_prompts: int

    def _pos_embed(self, x: Tensor) -> Any:
        # timm splits the table after `num_prefix_tokens` rows, of which the prompts have none
        self.num_prefix_tokens -= self.num_prompts
        out = super()._pos_embed(x)
        self.num_prefix_tokens += self.num_prompts
        return out


def prompt_rows(module: nn.Module) -> Tensor:
    """Return the inserted rows (m, C): prompts, plus their position vectors if there are any."""
    positions = getattr(module, "prompt_positions", None)
    prompts = module.prompts
    assert isinstance(prompts, Tensor)
    return prompts if positions is None else prompts + positions


def insert_at_input(
    backbone: nn.Module, num: int, *, normed: bool = False, **parameters: nn.Parameter
) -> None:
    """Make `num` prompts part of the sequence of every block.

    `num_prefix_tokens` grows with them, so that timm's own pooling, and its splitting of prefix
    and patch tokens for dense features, leave them out; rotary embeddings skip them as well.
    """
    network = as_backbone(backbone)
    position = network.num_prefix_tokens
    assert isinstance(backbone.norm_pre, nn.Module)
    seams.extend(backbone.norm_pre, PromptsAtInput, position=position, normed=normed, **parameters)
    network.num_prefix_tokens = position + num
    if getattr(backbone, "dynamic_img_size", False):
        seams.extend(backbone, OwnPrefix, num_prompts=num)
    for block in families.blocks(backbone):
        skip_in_rotation(block, num)


def skip_in_rotation(block: nn.Module, num: int) -> None:
    """Tell rotary attention that `num` more tokens have no place in the image."""
    attention = families.branch(block, "attn")
    if attention is not None and hasattr(attention, "num_prefix_tokens"):
        rotary = as_backbone(attention)  # of one name with the network's, and of one meaning
        rotary.num_prefix_tokens += num


def no_sequence(backbone: nn.Module) -> str | None:
    """Return why no token can be added to the sequence of `backbone`, or None."""
    found = families.find(backbone)
    if found is not None and found.sequence:
        return None
    name = found.name if found else type(backbone).__name__
    return f"no token can be added to the sequence of a {name} backbone"


class PromptsInBlock(seams.Extension):
    """Inserts prompts after the prefix tokens of a block's input, drops them from its output."""

    prompts: nn.Parameter
    position: int

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return (B, N, C) for (B, N, C)."""
        x = seams.insert(x, self.prompts, self.position)
        x = super().forward(x, *args, **kwargs)
        return seams.remove(x, len(self.prompts), self.position)


class PaddedWindow(WindowExtension):
    """Swin's attention over `extra_rows` more rows in front, without relative position or mask."""

    extra_rows: int

    def _get_rel_pos_bias(self) -> Tensor:
        num = self.extra_rows
        # rows without a place in the window have no relative position: their bias is 0
        bias = super()._get_rel_pos_bias()
        return nn.functional.pad(bias, (num, 0, num, 0))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the attention does with a mask that lets all see the rows."""
        if mask is not None:
            # 0 is "seen" in Swin's additive mask: shifted windows all reach the prompts
            mask = nn.functional.pad(mask, (self.extra_rows, 0, self.extra_rows, 0))
        return super().forward(x, mask)


def pad_window(attention: nn.Module, num: int) -> None:
    """Note that `num` more rows will stand in front of each window of `attention`."""
    # keys and prompts of one block add up; the annotation is for `__setattr__` of a module
    rows: Any = getattr(attention, "extra_rows", 0) + num
    attention.extra_rows = rows


class PromptsInWindow(PaddedWindow):
    """The same for the windows of Swin.

    `norms` holds the block's `norm1`, through which the prompts pass as the tokens did; it is a
    tuple so that the norm does not become a part of the attention as well.
    """

    prompts: nn.Parameter
    norms: tuple[nn.Module, ...]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B * windows, N, C) for the same."""
        rows: Tensor = self.prompts
        for norm in self.norms:
            rows = norm(rows)
        x = super().forward(seams.insert(x, rows, 0), mask)
        return seams.remove(x, len(rows), 0)


def normal(*shape: int, std: float) -> nn.Parameter:
    """Return a parameter drawn from N(0, std^2)."""
    return nn.Parameter(torch.randn(*shape) * std)


STARTS = ("uniform", "normal")


def drawn(backbone: nn.Module, start: str, num: int, width: int) -> nn.Parameter:
    """Return prompts (num, width): "normal" of std .02, or "uniform" as the authors of VPT draw.

    U(-v, v) with v^2 = 6 / (3 p^2 + d), p the side of a patch, d the width of the embedding:
    Xavier's bound for the patch embedding (std .036 on ViT-B/16).
    """
    if start == "normal":
        return normal(num, width, std=0.02)
    patches = getattr(backbone.patch_embed, "proj", None)
    assert isinstance(patches, nn.Conv2d)
    side = patches.kernel_size[0]
    # Xavier's: fan-in 3 p^2 of the patch embedding and fan-out d
    bound = (6 / (3 * side**2 + families.width(families.blocks(backbone)[0]))) ** 0.5
    return nn.Parameter(torch.empty(num, width).uniform_(-bound, bound))
