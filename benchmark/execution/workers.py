"""A process of its own that trains one cell after the other, and tells how each ended."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmark.core.cell import Cell
from benchmark.core.registry import DeviceLost
from benchmark.core.settings import Settings
from benchmark.execution.inline import Hooks, inline
from benchmark.execution.one import Outcome
from benchmark.training.checkpoint import Interrupted
from benchmark.training.session import Session

KILLED = "killed"


@dataclass(frozen=True)
class Place:
    """Where a worker trains and with what: folders, sources of the cells, CPU threads.

    Its `number` among the workers tells the GPU.
    """

    runs: Path
    cache: Path
    sources: dict[str, str]
    number: int
    threads: int
    settings: Settings = field(default_factory=Settings)


def mig_slices() -> list[str]:
    """Return the slices of cards (MIG) among which a process may choose; [] where it may not.

    CUDA shows a process only the first of those that CUDA_VISIBLE_DEVICES names.
    """
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return names if len(names) > 1 and all(name.startswith("MIG-") for name in names) else []


def num_gpus() -> int:
    """Return how many GPUs, or slices of them, processes can share out."""
    return len(mig_slices()) or torch.cuda.device_count()


def take_slice(number: int) -> None:
    """Let this process see one slice alone; to be called before it uses a GPU."""
    if slices := mig_slices():
        os.environ["CUDA_VISIBLE_DEVICES"] = slices[number % len(slices)]


def device_of(number: int, num_devices: int) -> str:
    """Return the device of the worker or task of this number: a GPU in turn, or the CPU."""
    return f"cuda:{number % num_devices}" if num_devices else "cpu"


def processes_on(number: int, num_workers: int, num_devices: int) -> int:
    """Return how many of the workers share the GPU of the worker of this number; 1 without GPUs."""
    return len(range(number % num_devices, num_workers, num_devices)) if num_devices else 1


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Worker:
    """One process with its pipe; `order` is (cell, how often the cell's process died) or None.

    Backbone and images stay warm between its cells.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.order: tuple[Cell, int] | None = None
        self._start()
        atexit.register(self.end)  # before Python waits for its processes, wherever this one stops

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads
        self.pipe, other = context.Pipe()
        # no daemon: such a process may have none of its own, and images are decoded in several
        self.process = context.Process(target=_serve, args=(other, self.place))
        self.process.start()
        other.close()  # so that the death of the process ends the pipe

    def give(self, cell: Cell, deaths: int) -> None:
        """Have a cell trained; from its second death on with half as many images at once."""
        self.order = (cell, deaths)
        with suppress(OSError):  # died while it waited: `take` sees that as well
            self.pipe.send((cell, max(0, deaths - 1)))

    def take(self) -> tuple[Outcome, int]:
        """Return what became of the cell and how often its process died by now.

        A process that died is replaced, and its cell is `KILLED`.
        """
        assert self.order is not None
        (cell, deaths), self.order = self.order, None
        try:
            return self.pipe.recv(), deaths
        except (EOFError, OSError):
            self.process.join()
            self._start()
            return Outcome(cell, KILLED), deaths + 1

    def end(self) -> None:
        """Ask the process to end: after this step, with a checkpoint."""
        atexit.unregister(self.end)
        self.pipe.close()


def _serve(pipe: Connection, place: Place) -> None:
    """Train what comes through the pipe until it ends, because the caller closed it or died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the caller tells us
    torch.set_num_threads(place.threads)
    take_slice(place.number)
    device = torch.device(device_of(place.number, torch.cuda.device_count()))
    session = Session(place.cache, place.sources, device, settings=place.settings)

    def check(cell: Cell) -> None:
        if pipe.poll():
            raise Interrupted("the caller is gone")

    hooks = Hooks(check, lambda step: pipe.poll())
    try:
        while True:
            cell, session.halvings = pipe.recv()
            pipe.send(next(inline([cell], session, place.runs, hooks)))
    except DeviceLost as error:  # the caller starts a new process in place of this one
        sys.stderr.write(f"{error}\n")
    except (EOFError, OSError, Interrupted):
        return
