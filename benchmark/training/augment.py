"""Augmentation of whole batches on the device, from a generator: the same for every method.

Legend: B images, C channels (1 where they are grey), S image side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.core.registry import Registry
from benchmark.data.base import IGNORE
from benchmark.training.pixels import sent, sliced, unit

MOST_VIEWS = 1 << 16  # of one image
DRAWS = 10  # random numbers that change one image


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random change that each image gets; all zero is no change."""

    flip: bool = False  # left-right, half of the images
    degrees: float = 0.0  # rotation within +- degrees
    scale: float = 0.0  # zoom within 1 +- scale
    shift: float = 0.0  # translation within +- shift of the side
    contrast: float = 0.0  # contrast and brightness within 1 +- contrast
    aspect: float = 0.0  # width over height within 1 +- aspect
    saturation: float = 0.0  # distance to grey within 1 +- saturation
    hue: float = 0.0  # turn of the colours within +- hue of the circle


UNCHANGED = Augmentation()
policies: Registry[Augmentation] = Registry("augmentation")
policies.add("none")(UNCHANGED)
policies.add("default")(Augmentation(flip=True, degrees=15, scale=0.1, shift=0.05, contrast=0.1))
policies.add("flip")(Augmentation(flip=True))
# for images without an up: dermoscopy, histology, endoscopy
policies.add("rotate")(Augmentation(flip=True, degrees=180, scale=0.1, contrast=0.1))
# what the DVPT authors' grading script asks of torchvision (their crops of .87 to 1.15 of the area
# are 1 +- .07 of the side); their script for segmentation came without its augmentation
policies.add("dvpt")(
    Augmentation(
        flip=True,
        degrees=180,
        scale=0.07,
        shift=0.1,
        contrast=0.2,
        aspect=0.3,
        saturation=0.1,
        hue=0.1,
    )
)
# rows: brightness, and the two axes of colour (YIQ, as in FCC NTSC 1953)
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def draws(count: int, generator: torch.Generator) -> Tensor:
    """Return draws (10, B) in [0, 1) for `count` images, made on the CPU: the same everywhere."""
    # in two parts, so that policies from before there were ten draws draw what they did
    parts = [torch.rand(rows, count, generator=generator) for rows in (7, DRAWS - 7)]
    return torch.cat(parts)


def view_draws(rows: Iterable[int], numbers: Iterable[int]) -> Tensor:
    """Return the draws (10, B) of view `numbers[i]` of the image in row `rows[i]` of its data set.

    A function of the two alone: the same views for all methods, seeds and fractions.
    """
    seeds = (int(row) * MOST_VIEWS + int(number) for row, number in zip(rows, numbers, strict=True))
    return torch.stack(
        [torch.rand(DRAWS, generator=torch.Generator().manual_seed(seed)) for seed in seeds], 1
    )


def change(
    images: Tensor,
    policy: Augmentation,
    draw: Tensor,
    then: Callable[[Tensor], Tensor] = unit,
) -> Tensor:
    """Return `images` (B, C, S, S), bytes or in [0, 1], changed as `draw` (10, B) says, in [0, 1].

    `then` is done to some of them at a time, while the processor's cache holds them.
    """
    if policy == UNCHANGED:
        return then(images)
    return sliced(lambda part, some: then(_changed(part, policy, some)), images, draw.T * 2 - 1)


def change_masks(masks: Tensor, policy: Augmentation, draw: Tensor) -> Tensor:
    """Return `masks` (B, S, S) moved with their images (nearest neighbour).

    What comes from outside becomes IGNORE. 1 is added on the way so that 0 can mean outside.
    """
    if policy == UNCHANGED:
        return masks
    grid = _grid(sent(_matrices(draw.T * 2 - 1, policy), masks.device), masks.shape[-1])
    shifted = masks[:, None].float() + 1
    moved = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    moved = moved[:, 0].long() - 1
    return torch.where(moved < 0, IGNORE, moved).to(masks.dtype)


def _changed(images: Tensor, policy: Augmentation, draw: Tensor) -> Tensor:
    """Return `images` changed by draws (B, 10) in [-1, 1)."""
    images = unit(images)
    grid = _grid(sent(_matrices(draw, policy), images.device), images.shape[-1])
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    factor = sent(1 + policy.contrast * draw[:, 5:7], images.device)[:, :, None, None, None]
    mean = moved.mean((1, 2, 3), keepdim=True)
    moved.sub_(mean).mul_(factor[:, 0]).add_(mean).mul_(factor[:, 1])
    if (policy.saturation or policy.hue) and images.shape[1] == 3:  # grey stays grey
        moved = _recolour(moved, draw[:, 8] * policy.saturation, draw[:, 9] * policy.hue)
    return moved.clamp_(0, 1)


def _matrices(draw: Tensor, policy: Augmentation) -> Tensor:
    """Return (B, 2, 3): where in its image each place of the changed image comes from."""
    return _affine(draw, policy) * _stretch(draw[:, 7] * policy.aspect)


def _grid(matrices: Tensor, side: int) -> Tensor:
    """Return the grid (B, S, S, 2) of `F.affine_grid`, a tenth of its time: x and y are apart.

    Made where `matrices` are: six numbers an image go to a GPU, and not two for each pixel.
    """
    at = (torch.arange(side, device=matrices.device) * 2 + 1) / side - 1
    grid = matrices.new_empty(len(matrices), side, side, 2)
    for axis in (0, 1):
        along_x, along_y, shift = matrices[:, axis, :, None, None].unbind(1)
        torch.add(along_x * at, along_y * at[:, None] + shift, out=grid[..., axis])
    return grid


def _affine(draw: Tensor, policy: Augmentation) -> Tensor:
    """Return (B, 2, 3) matrices from draws (B, 10) in [-1, 1): angle, zoom, flip and shifts."""
    angle, zoom = draw[:, 0] * math.radians(policy.degrees), 1 + draw[:, 1] * policy.scale
    mirror = torch.where((draw[:, 2] < 0) & policy.flip, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift_x, shift_y = draw[:, 3:5].T * 2 * policy.shift  # the grid spans [-1, 1]: two sides long
    rows = [cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y]
    return torch.stack(rows, 1).view(-1, 2, 3)


def _stretch(change: Tensor) -> Tensor:
    """Return (B, 1, 3) factors of x and y whose ratio is 1 + `change` (B,), their product 1."""
    wide = (1 + change).sqrt()
    return torch.stack([wide, 1 / wide, torch.ones_like(wide)], 1)[:, None]


def _recolour(images: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Return images (B, 3, S, S) whose colours lie 1 + `saturation` as far from grey, turned."""
    angle, size = 2 * math.pi * hue, 1 + saturation
    cos, sin = angle.cos() * size, angle.sin() * size
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    matrices = sent((torch.linalg.inv(_YIQ) @ turn @ _YIQ).to(images.dtype), images.device)
    return torch.einsum("bij,bjhw->bihw", matrices, images)
