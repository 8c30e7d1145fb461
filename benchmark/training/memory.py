"""What to do when memory ends, or a GPU is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")
# The lines with STATUS and CUFFT are what libraries say where their first workspace does not fit.
# The last is not memory, and has the same remedy: more blocks than one launch takes, as in
# attention within the windows of many large images.
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory"
    r"|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CU(DNN|SOLVER)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED|INTERNAL_ERROR)"
    r"|CUFFT_ALLOC_FAILED"
    r"|invalid configuration argument",
    re.IGNORECASE,
)
MOST = 512  # images at once
GROWTH_SHARE = 0.5  # of the free memory of a GPU that they may take
_LOST = re.compile(r"CUDA error|device-side assert|uncorrectable ECC|illegal memory access")
# what is wrong with one call, such as a type that the card does not know; the next one is taken
_REFUSED = re.compile(
    r"STATUS_(NOT_SUPPORTED|INVALID_VALUE|ARCH_MISMATCH)|no kernel image|too many resources"
    r"|invalid (argument|device function)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory, of the device or the host, is what `error` is about.

    Fewer images at once are the remedy.
    """
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or bool(_MEMORY.search(str(error)))


def is_device_lost(error: BaseException) -> bool:
    """Return whether every later CUDA call of this process would fail as well.

    After an assert on the device, an illegal access or an ECC error the context stays broken;
    running out of memory, and a call that is refused, leave it whole.
    """
    whole = is_out_of_memory(error) or _REFUSED.search(str(error))
    return not whole and bool(_LOST.search(str(error)))


def peak_bytes(device: torch.device) -> int:
    """Return the most that tensors took on a GPU since `reset_peak`; 0 elsewhere."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0


def reset_peak(device: torch.device) -> None:
    """Let `peak_bytes` begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free_bytes(device: torch.device) -> int:
    """Return what a GPU could still hold: what is free, and what torch keeps for later."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + kept)


def grown(size: int, free: int, each: int, processes: int = 1) -> int:
    """Return how many images to take at once, when `size` took `each` bytes an image.

    The largest power of two times `size` that half of the `free` bytes hold, up to `MOST`: the
    rest is for what a library takes for itself, and for others on the card. So many `processes`
    of ours share that half out: all of them may see the same bytes as free.
    """
    while 2 * size <= MOST and 2 * size * each <= GROWTH_SHARE / processes * free:
        size *= 2
    return size


@dataclass
class Chunks:
    """How many images go through a model at once without gradients: halved when memory ends.

    With a `card`, which `processes` share, as many more after the first time as its memory holds:
    see `grown`.
    """

    size: int
    card: torch.device | None = None
    processes: int = 1

    def map(self, count: int, function: Callable[[np.ndarray], T]) -> Iterator[T]:
        """Yield `function` of 0 ... count - 1, `size` positions at a time, in order.

        Raises:
            RuntimeError, MemoryError: not even one image fits.
        """
        start = 0
        while start < count:
            positions = np.arange(start, min(start + self.size, count))
            try:
                result = self._measured(function, positions) if self.card else function(positions)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(positions) == 1:
                    raise
                result = None  # retried below, where the traceback no longer holds tensors
            if result is None:
                self.size, self.card = -(-len(positions) // 2), None
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield result
            start += len(positions)

    def _measured(self, function: Callable[[np.ndarray], T], positions: np.ndarray) -> T:
        """Return `function(positions)`, and grow by what it took."""
        card, self.card = self.card, None
        assert card is not None
        reset_peak(card)
        before = peak_bytes(card)
        result = function(positions)
        each = -(-(peak_bytes(card) - before) // len(positions))
        self.size = grown(self.size, free_bytes(card), each, self.processes)
        return result


def chunks(device: torch.device, processes: int = 1, *, fixed: bool = False) -> Chunks:
    """Return the size to begin with: larger on a GPU, where small kernels leave it idle.

    It stays where it is where it is `fixed`, or where results may not differ by rounding from
    those beside other processes.
    """
    if device.type != "cuda":
        return Chunks(64)
    exact = fixed or torch.are_deterministic_algorithms_enabled()
    return Chunks(128, None if exact else device, processes)
