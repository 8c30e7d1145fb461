"""How a device computes while a cell is trained and measured; what was set before comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.core.settings import Settings


@contextmanager
def arithmetic(settings: Settings) -> Iterator[None]:
    """Let fp32 be fp32 within the block, and every kernel deterministic where that is asked for.

    cuDNN's convolutions use TF32 (10 bits of mantissa) unless it is off; matrix products do
    not: a patch embedding would be computed with less precision than the layers after it.

    Deterministic: the backward passes of flash and memory-efficient attention and of bilinear
    upsampling add up in the order in which threads arrive. The slower kernels are taken.
    """
    # Whoever asks: it is read once, at the first matrix product of a process on a GPU. Without it
    # cells that ask for determinism later on would be refused (torch before 2.15) or not have it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    exact = settings.deterministic
    with ExitStack() as stack:
        stack.enter_context(
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=exact, allow_tf32=False
            )
        )
        if exact:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.callback(torch.use_deterministic_algorithms, before)
            torch.use_deterministic_algorithms(True)
        yield
