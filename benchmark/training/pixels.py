"""Decoded bytes on their way to the backbone, a few images at a time.

Legend: B images, C channels (1 where all images of a data set are grey), S image side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SLICE = 1 << 19  # numbers at once: with their copies they fit a processor's cache


def parsed(text: str) -> tuple[list[float], list[float]]:
    """Return (mean, std) of the channels, as cells note them: "0.5,0.5,0.5/0.2,0.2,0.2"."""
    mean, std = ([float(v) for v in part.split(",")] for part in text.split("/"))
    return mean, std


def statistics(text: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what `parsed` does as tensors (3, 1, 1)."""
    mean, std = (torch.tensor(part, device=device).view(3, 1, 1) for part in parsed(text))
    return mean, std


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; to a GPU without waiting for what it is doing.

    A copy from ordinary memory would wait until all kernels before it are done.
    """
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def unit(images: Tensor) -> Tensor:
    """Return images in [0, 1]: bytes as a new float tensor, floats as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def normalized(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return `images` (B, C, S, S), bytes or in [0, 1], as (B, 3, S, S) with this mean and std."""
    return sliced(lambda part: _normalized(part, mean, std), images)


def _normalized(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    floats = unit(images.contiguous())  # bytes change places faster than floats
    own = images.dtype == torch.uint8 and images.shape[1] == len(mean)
    return (floats.sub_(mean) if own else floats.sub(mean)).div_(std)


def sliced(function: Callable[..., Tensor], *batches: Tensor) -> Tensor:
    """Return `function` of tensors with the same B, computed slice by slice on the CPU.

    A chain of elementwise passes over a whole batch reads and writes main memory, and asks for
    new pages, in each of them; over a slice it does not. The numbers are the same.
    """
    first = batches[0]
    size = max(torch.get_num_threads(), SLICE // max(1, first[:1].numel()))
    if first.device.type != "cpu" or len(first) <= size:
        return function(*batches)
    parts = zip(*(batch.split(size) for batch in batches), strict=True)
    start = function(*next(parts))
    out = start.new_empty(len(first), *start.shape[1:])
    out[:size] = start
    for index, part in enumerate(parts, 1):
        out[index * size : (index + 1) * size] = function(*part)
    return out
