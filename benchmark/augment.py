"""Augmentation of whole batches on the device, from a generator: the same for every method.

Legend: B images, S image side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.base import IGNORE
from benchmark.registry import Registry

MOST_VIEWS = 1 << 16  # of one image


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random change that each image gets; all zero is no change."""

    flip: bool = False  # left-right, half of the images
    degrees: float = 0.0  # rotation within +- degrees
    scale: float = 0.0  # zoom within 1 +- scale
    shift: float = 0.0  # translation within +- shift of the side
    contrast: float = 0.0  # contrast and brightness within 1 +- contrast


policies: Registry[Augmentation] = Registry("augmentation")
policies.add("none")(Augmentation())
policies.add("default")(Augmentation(flip=True, degrees=15, scale=0.1, shift=0.05, contrast=0.1))
policies.add("flip")(Augmentation(flip=True))
# for images without an up: dermoscopy, histology, endoscopy
policies.add("rotate")(Augmentation(flip=True, degrees=180, scale=0.1, contrast=0.1))


def augment(
    images: Tensor, masks: Tensor | None, policy: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return changed copies of `images` (B, 3, S, S) in [0, 1] and `masks` (B, S, S).

    Masks move with their images (nearest neighbour); what comes from outside becomes IGNORE. The
    draws are made on the CPU, so that every device sees the same ones.
    """
    if policy == Augmentation():
        return images, masks
    return change(images, masks, policy, torch.rand(7, len(images), generator=generator))


def view_draws(rows: Iterable[int], numbers: Iterable[int]) -> Tensor:
    """Return the draws (7, B) of view `numbers[i]` of the image in row `rows[i]` of its data set.

    A function of the two alone: the same views for all methods, seeds and fractions.
    """
    seeds = (int(row) * MOST_VIEWS + int(number) for row, number in zip(rows, numbers, strict=True))
    return torch.stack(
        [torch.rand(7, generator=torch.Generator().manual_seed(seed)) for seed in seeds], 1
    )


def change(
    images: Tensor, masks: Tensor | None, policy: Augmentation, draw: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return `images` and `masks` changed as the draws (7, B) in [0, 1) say within `policy`."""
    draw = draw * 2 - 1
    grid = F.affine_grid(_affine(draw, policy), list(images.shape), align_corners=False)
    grid = grid.to(images.device)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    factor = (1 + policy.contrast * draw[5:]).to(images.device)[:, :, None, None, None]
    mean = moved.mean((1, 2, 3), keepdim=True)
    moved = (((moved - mean) * factor[0] + mean) * factor[1]).clamp(0, 1)
    return moved, None if masks is None else _move_masks(masks, grid)


def _affine(draw: Tensor, policy: Augmentation) -> Tensor:
    """Return (B, 2, 3) matrices from draws in [-1, 1): angle, zoom, flip and shifts."""
    angle, zoom = draw[0] * math.radians(policy.degrees), 1 + draw[1] * policy.scale
    mirror = torch.where((draw[2] < 0) & policy.flip, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift_x, shift_y = draw[3:5] * 2 * policy.shift  # the grid spans [-1, 1]: two sides long
    rows = [cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y]
    return torch.stack(rows, 1).view(-1, 2, 3)


def _move_masks(masks: Tensor, grid: Tensor) -> Tensor:
    """Return (B, S, S) masks sampled at `grid`; 1 is added so that 0 can mean outside."""
    shifted = masks[:, None].float() + 1
    moved = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    moved = moved[:, 0].long() - 1
    return torch.where(moved < 0, IGNORE, moved).to(masks.dtype)
