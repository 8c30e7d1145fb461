"""Results of batches, put together on the host while a GPU goes on.

What a GPU sends without waiting goes through pinned memory, of which torch gives nothing back: at
most two batches lie there, and not the class maps of a whole test set.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

AHEAD = 1  # batches that are computed while an earlier one is on its way


class Gathered:
    """Rows of named tensors (n, ...), batch after batch; `count` is n, known before the first."""

    def __init__(self, count: int) -> None:
        self._count, self._at = count, 0
        self._rows: dict[str, Tensor] = {}
        self._under_way: deque[tuple[dict[str, Tensor], torch.cuda.Event | None]] = deque()

    def add(self, batch: dict[str, Tensor]) -> None:
        """Send the next rows to the host; the host does not wait for them."""
        on_card = [t.device for t in batch.values() if t.is_cuda]
        sent = {name: t.to("cpu", non_blocking=True) for name, t in batch.items()}
        arrival = torch.cuda.current_stream(on_card[0]).record_event() if on_card else None
        self._under_way.append((sent, arrival))
        if len(self._under_way) > AHEAD:
            self._land()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all rows, once the last ones are there."""
        while self._under_way:
            self._land()
        return {name: rows.numpy() for name, rows in self._rows.items()}

    def _land(self) -> None:
        sent, arrival = self._under_way.popleft()
        if arrival is not None:
            arrival.synchronize()
        stop = self._at + len(next(iter(sent.values())))
        for name, part in sent.items():
            if name not in self._rows:
                self._rows[name] = torch.empty(self._count, *part.shape[1:], dtype=part.dtype)
            self._rows[name][self._at : stop] = part
        self._at = stop
