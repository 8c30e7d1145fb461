"""Two-dimensional operations on tokens or maps with channels last. Not a method itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def on_grid(operation: Callable[[Tensor], Tensor], x: Tensor, prefix: int) -> Tensor:
    """Return `operation` of maps (B, r, H, W), made of tokens (B, N, r) or a map (B, H, W, r).

    The first `prefix` tokens (CLS, registers) have no place on the square grid of the others: each
    is a map of its own of one pixel.
    """
    if x.ndim == 4:
        return operation(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    # a class token has no neighbours; on the grid it would shift every patch by one
    first, patches = x[:, :prefix], x[:, prefix:]
    side = math.isqrt(patches.shape[1])
    grid = patches.transpose(1, 2).unflatten(2, (side, side))
    mixed = operation(grid).flatten(2).transpose(1, 2)
    if not prefix:
        return mixed
    # one pixel: of a padded kernel only its centre acts, so CLS gets the same weights as a patch
    pixels = operation(first.flatten(0, 1)[..., None, None]).view_as(first)
    return torch.cat([pixels, mixed], 1)
