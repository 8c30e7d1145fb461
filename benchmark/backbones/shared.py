"""Fresh copies of a pre-trained model, many times, without copying what nobody changes.

`copy.deepcopy` of a ViT-S spends most of its time on memory that is never written: the frozen
weights. Here the copies share them, read from one block of memory, and `own_trained` gives those
that are trained memory of their own. A checksum before each copy finds a block that somebody wrote
to (such as merging a method into its weights); the model is then made anew.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ALIGNED = 64  # bytes: what torch's own allocations are aligned to


class Pristine:
    """What `make` returns, on `device`: never handed out itself, only as copies."""

    def __init__(self, make: Callable[[], nn.Module], device: torch.device) -> None:
        self._make, self._device = make, device
        self._load()

    def copy(self) -> nn.Module:
        """Return a copy whose modules and buffers are its own, and whose parameters are shared.

        A model that cannot be pickled is deep-copied, parameters included.
        """
        if self._structure is None:
            return copy.deepcopy(self._model)
        if _checksum(self._block) != self._sum:
            self._load()
        model: nn.Module = _Reader(io.BytesIO(self._structure), self._tensors).load()
        return model

    def _load(self) -> None:
        self._model = self._make().to(self._device)
        self._block = _gather(list(self._model.parameters()))
        self._sum = _checksum(self._block)
        self._tensors: list[Tensor] = []
        stream = io.BytesIO()
        try:
            _Writer(stream, self._tensors).dump(self._model)
            self._structure: bytes | None = stream.getvalue()
        except (pickle.PicklingError, AttributeError, TypeError):
            self._structure = None


def own_trained(model: nn.Module) -> None:
    """Give every trained parameter of `model` that lies in a shared block memory of its own."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.untyped_storage().nbytes() > parameter.nbytes:
            parameter.data = parameter.data.clone()


def _gather(parameters: list[nn.Parameter]) -> Tensor:
    """Move `parameters` into one block of memory and return it, as int64."""
    ends = [0]
    for parameter in parameters:
        ends.append(ends[-1] + -(-parameter.nbytes // ALIGNED) * ALIGNED)
    device = parameters[0].device if parameters else None
    block = torch.zeros(ends[-1] // 8, dtype=torch.int64, device=device)
    for start, parameter in zip(ends, parameters, strict=False):
        place = block.view(torch.uint8)[start : start + parameter.nbytes]
        place = place.view(parameter.dtype).view(parameter.shape)
        place.copy_(parameter.data)
        parameter.data = place
    return block


def _checksum(block: Tensor) -> int:
    return int(block.sum())  # wraps around


class _Writer(pickle.Pickler):
    """Writes a number in the place of each tensor and notes the tensor."""

    def __init__(self, stream: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._tensors = tensors
        self._numbers: dict[int, int] = {}

    def persistent_id(self, thing: Any) -> int | None:
        if not isinstance(thing, Tensor):
            return None
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self._tensors)
            self._tensors.append(thing)
        return self._numbers[id(thing)]


class _Reader(pickle.Unpickler):
    """Reads what `_Writer` wrote: parameters share their values, other tensors are copied."""

    def __init__(self, stream: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(stream)
        self._tensors = tensors
        self._made: dict[int, Tensor] = {}

    def persistent_load(self, number: Any) -> Tensor:
        if number not in self._made:
            self._made[number] = _shared(self._tensors[number])
        return self._made[number]


def _shared(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.data, requires_grad=tensor.requires_grad)
    return copy.deepcopy(tensor)
