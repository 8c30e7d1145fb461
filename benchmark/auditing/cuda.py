"""What CUDA does otherwise than the CPU, for checks that run without a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import getLogger
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch.nn import functional as F


@contextmanager
def cuda_layer_norm() -> Iterator[None]:
    """Let `F.layer_norm` take types as on CUDA.

    Under autocast it computes in single precision; elsewhere it refuses an input of another type
    than its weights, which the CPU accepts. A module that is run again in a backward pass, outside
    autocast, fails there and not here.
    """
    # the CPU takes what CUDA refuses, so a fault would show on the GPU alone
    real = F.layer_norm

    def layer_norm(
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                wide, shift = (None if t is None else t.float() for t in (weight, bias))
                return real(x.float(), list(shape), wide, shift, eps)
        for tensor in (weight, bias):
            if tensor is not None and tensor.dtype != x.dtype:
                raise RuntimeError(f"layer_norm: expected scalar type {x.dtype}, {tensor.dtype}")
        return real(x, list(shape), weight, bias, eps)

    with mock.patch.object(F, "layer_norm", layer_norm):
        yield


@contextmanager
def on_a_gpu(module: nn.Module) -> Iterator[torch.device]:
    """Let `module` lie on a GPU that need not exist: shapes, types and devices without values.

    Its parameters and buffers are replaced, as `module.to` would move them. Any other tensor stays
    on the CPU, and raises RuntimeError where it meets one of the GPU.
    """
    device = torch.device("cuda", 0)
    moved: dict[int, Tensor] = {}  # a tensor that is in two places stays one

    def move(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            there = torch.empty_like(tensor, device=device)
            if isinstance(tensor, nn.Parameter):
                there = nn.Parameter(there, tensor.requires_grad)
            moved[id(tensor)] = there
        return moved[id(tensor)]

    # torch logs a traceback beside the error that it raises, which the audit tells in a sentence
    quiet = mock.patch.object(getLogger(fake_tensor.__name__), "disabled", True)
    with quiet, fake_tensor.FakeTensorMode(allow_non_fake_inputs=True):
        for part in module.modules():
            held: list[dict[str, Any]] = [part._parameters, part._buffers]
            for tensors in held:
                tensors |= {n: move(tensor) for n, tensor in tensors.items() if tensor is not None}
        yield device
