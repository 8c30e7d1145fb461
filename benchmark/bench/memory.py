"""Bytes that a training step keeps for its backward pass: exact, and the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def saved_bytes(forward: Callable[[], Tensor], owned: Iterable[Tensor]) -> int:
    """Return the bytes of all storages that `forward` saves for backward, each counted once.

    A saved view keeps its whole storage alive, so the whole counts. Storages of the `owned`
    tensors (parameters, buffers, the batch) are there anyway and do not count.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in owned}
    kept: dict[int, Tensor] = {}  # holds the tensors, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in known:
            kept[address] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total


def owned(model: nn.Module, *batch: Tensor) -> list[Tensor]:
    """Return what `saved_bytes` must not count for a step of `model` on `batch`."""
    return [*model.parameters(), *model.buffers(), *batch]


def peak_mib(step: Callable[[], object], device: torch.device) -> float | None:
    """Return the peak memory of `step` on a GPU in MiB; None elsewhere."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**20
