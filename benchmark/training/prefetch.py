"""The batch of the next step is made while this one is computed.

A thread reads it, pins it, and sends and changes it on a stream of its own: a GPU does not wait for
the host. What is in a batch is a function of cell and step (`fit`), so it is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch

from benchmark.training.source import Batch, Source

Make = Callable[[int], Batch]  # the batch of a step


def batches(make: Make, train: Source, device: torch.device) -> AbstractContextManager[Make]:
    """Return the context that gives what makes batches: ahead where a GPU would wait for them."""
    pays = device.type == "cuda" and train.is_slow
    return one_ahead(make, device) if pays else nullcontext(make)


@cache
def stream_of(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of batches, one for all cells of a process.

    torch keeps memory by stream: with a new one in each cell, batches of up to 32 earlier cells
    would stay on the card, and nobody could use that memory but this process.
    """
    return torch.cuda.Stream(device)


@contextmanager
def one_ahead(make: Make, device: torch.device) -> Iterator[Make]:
    """Give a function that returns `make(step)`, and has begun the next step's when it returns.

    What `make` raises is raised where its batch is asked for. The thread ends with the block.
    """
    pool = ThreadPoolExecutor(1, "batches")
    stream = None
    if device.type == "cuda":
        stream = stream_of(device)
        stream.wait_stream(torch.cuda.current_stream(device))  # constants may be on their way
    waiting: dict[int, Future[tuple[Batch, torch.cuda.Event | None]]] = {}

    def made(step: int) -> tuple[Batch, torch.cuda.Event | None]:
        if stream is None:
            return make(step), None
        with torch.cuda.stream(stream):
            return make(step), stream.record_event()

    def batch_of(step: int) -> Batch:
        future = waiting.pop(step, None) or pool.submit(made, step)
        waiting.clear()
        batch, done = future.result()
        waiting[step + 1] = pool.submit(made, step + 1)
        if done is not None:
            now = torch.cuda.current_stream(device)
            now.wait_event(done)
            for tensor in batch:
                tensor.record_stream(now)  # not to be given to another before `now` has read it
        return batch

    try:
        yield batch_of
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
