"""What this project relies on of timm's networks, for type checkers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network of timm without its classifier: `body(images)` (B, num_features).

    timm's networks do not inherit from it. It names their attributes, which `nn.Module` would
    otherwise type as "a tensor or a module"; what some of them lack is asked for with `hasattr`.
    """

    num_features: int
    num_prefix_tokens: int  # of ViTs: class token and registers
    patch_embed: nn.Module
    feature_info: Sequence[Mapping[str, Any]]  # of each level: num_chs, reduction
    forward_intermediates: Callable[..., list[Tensor]]
    set_grad_checkpointing: Callable[[bool], None]
    buffers_at_attach: Mapping[str, Tensor]  # set by `Method.attach`


def as_backbone(module: nn.Module) -> Backbone:
    """Return `module` as what it is; nothing is checked or changed."""
    return cast(Backbone, module)
