"""What a cell costs: parameters, time and memory."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.core.cell import Cell
from benchmark.training.checkpoint import Progress


def training(cell: Cell, progress: Progress, device: torch.device) -> dict[str, Any]:
    """Return the time of training, the images that went through in a second, and the memory.

    To be called between training and the evaluation on the test set. Without a GPU the peak is
    that of the whole process so far.
    """
    steps, seconds = progress.step, progress.seconds  # until converged not all that a cell allows
    rate = steps * cell.batch_size / seconds
    on_gpu = device.type == "cuda"
    reserved = torch.cuda.max_memory_reserved(device) / 2**20 if on_gpu else 0.0
    return {
        "train_s": seconds,
        "steps_done": steps,
        "images_per_s": rate,
        "peak_mib": progress.peak_bytes / 2**20 if on_gpu else host_mib(),
        "reserved_mib": reserved,
        "host_mib": host_mib(),
    }


def parameters(body: nn.Module, head: nn.Module) -> dict[str, Any]:
    """Return the counts of the method (`trainable_params`), the head, and the attached body."""
    trainable = sum(p.numel() for p in body.parameters() if p.requires_grad)
    return {
        "trainable_params": trainable,
        "head_params": sum(p.numel() for p in head.parameters()),
        "total_params": sum(p.numel() for p in body.parameters()),
    }


@dataclass(frozen=True)
class Size:
    """Number of parameters, and bytes of a stored copy with its buffers."""

    params: int
    bytes: int


def size_of(module: nn.Module) -> Size:
    """Return what `module` holds and what storing a full copy of it would take."""
    stored = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    return Size(sum(p.numel() for p in module.parameters()), stored)


def host_mib() -> float:
    """Return the peak memory of this process on the host in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
