"""What to do when memory ends, or a GPU is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")
# The last two lines are what cuBLAS and cuDNN say where their first workspace does not fit.
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory"
    r"|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CUDNN_STATUS_(ALLOC_FAILED|NOT_INITIALIZED|INTERNAL_ERROR)",
    re.IGNORECASE,
)
_LOST = re.compile(r"CUDA error|device-side assert|uncorrectable ECC|illegal memory access")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory, of the device or the host, is what `error` is about."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or bool(_MEMORY.search(str(error)))


def is_device_lost(error: BaseException) -> bool:
    """Return whether every later CUDA call of this process would fail as well.

    After an assert on the device, an illegal access or an ECC error the context stays broken;
    running out of memory leaves it whole.
    """
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or bool(_LOST.search(str(error)))


@dataclass
class Chunks:
    """How many images go through a model at once without gradients: halved when memory ends."""

    size: int

    def map(self, count: int, function: Callable[[np.ndarray], T]) -> Iterator[T]:
        """Yield `function` of 0 ... count - 1, `size` positions at a time, in order.

        Raises:
            RuntimeError, MemoryError: not even one image fits.
        """
        start = 0
        while start < count:
            positions = np.arange(start, min(start + self.size, count))
            try:
                result = function(positions)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(positions) == 1:
                    raise
                result = None  # retried below, where the traceback no longer holds tensors
            if result is None:
                self.size = -(-len(positions) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield result
            start += len(positions)


def chunks(device: torch.device) -> Chunks:
    """Return the size to begin with: large on a GPU, where small kernels leave it idle."""
    return Chunks(256 if device.type == "cuda" else 64)
