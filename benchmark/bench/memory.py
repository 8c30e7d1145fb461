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


MOMENTS = 2  # of AdamW, each as large as what is trained


def training_bytes(model: nn.Module) -> int:
    """Return the bytes of the gradients and of AdamW's moments of what `model` trains."""
    return (1 + MOMENTS) * sum(p.nbytes for p in model.parameters() if p.requires_grad)


def peak_mib(step: Callable[[], object], device: torch.device, own: int) -> float | None:
    """Return the peak memory of `step` on a GPU in MiB; None elsewhere.

    `own` bytes lie there for it before it begins; what others hold is left out.
    """
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    others = torch.cuda.memory_allocated(device) - own
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - others) / 2**20
