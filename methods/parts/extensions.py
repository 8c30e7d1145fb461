"""Bases of what is put in front of a class of timm's, as `seams.Extension` is for any module.

To a type checker they name what the extended class has; when the program runs they are empty. Not
methods themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from methods import seams

if TYPE_CHECKING:

    class NetworkExtension(seams.Extension):
        """A whole backbone."""

        num_prefix_tokens: int

        def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            """Return the maps of all levels, with the final one in front unless told otherwise."""

        def forward_head(self, x: Tensor) -> Tensor:
            """Return the pooled features (B, D)."""

        def _pos_embed(self, x: Tensor) -> Tensor: ...

    class SwinBlockExtension(seams.Extension):
        """A block of Swin."""

        def _attn(self, x: Tensor) -> Tensor: ...

    class WindowExtension(seams.Extension):
        """The windowed attention of a Swin block."""

        def _get_rel_pos_bias(self) -> Tensor: ...
else:
    NetworkExtension = SwinBlockExtension = WindowExtension = object
