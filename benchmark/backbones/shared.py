"""Fresh copies of a pre-trained model, many times, without copying what nobody changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the size of a value
Marks = tuple[list[int], list[int]]


class Pristine:
    """What `make` returns, on `device`: never handed out itself, only as copies.

    Modules and buffers of a copy are its own, its parameters share memory with all other copies:
    `own_trained` gives those that are trained memory of their own. Before each copy the shared
    memory is compared with what it was (`marks`); where somebody wrote to it, such as by merging a
    method into its weights, the model is made anew.
    """

    def __init__(self, make: Callable[[], nn.Module], device: torch.device) -> None:
        self._make, self._device = make, device
        self._load()

    def copy(self) -> nn.Module:
        """Return a copy of the model."""
        if marks(self._model.parameters()) != self._before:
            self._load()
        # `detach` keeps the version counter that `marks` reads; `.data` would start another
        parameters = self._model.parameters()
        memo: dict[int, Any] = {
            id(p): nn.Parameter(p.detach(), p.requires_grad) for p in parameters
        }
        return copy.deepcopy(self._model, memo)

    def unused_bytes(self, model: nn.Module) -> int:
        """Return the memory of those parameters that `model` does not share, a copy or not."""
        used = {p.data_ptr() for p in model.parameters()}
        return sum(p.nbytes for p in self._model.parameters() if p.data_ptr() not in used)

    def _load(self) -> None:
        self._model = self._make().to(self._device)
        self._before = marks(self._model.parameters())


def own_trained(model: nn.Module) -> None:
    """Give every trained parameter of `model` memory of its own."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone()


def marks(parameters: Iterable[nn.Parameter]) -> Marks:
    """Return two marks of each parameter that change when it is written to.

    torch's counter of in-place changes sees all of them but those through `.data`; the sum of the
    values' bits (wrapping around) sees those, unless they only trade places.
    """
    tensors = [p.detach() for p in parameters]
    words = [t.reshape(-1).view(_WORDS[t.element_size()]).sum() for t in tensors]
    sums = torch.stack(words).tolist() if words else []  # one transfer from the device
    return [t._version for t in tensors], sums
