"""A signal that ends training between two steps, when a checkpoint is consistent."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from benchmark.core.cell import Cell
from benchmark.training.checkpoint import Interrupted

TOLD = "stopping after this step, with a checkpoint; once more stops at once\n"


class Bell:
    """Context manager that hears signals; training asks it after every step.

    Ctrl-C heard a second time is a KeyboardInterrupt, wherever the program is.
    """

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.heard: tuple[int, FrameType | None] | None = None
        self.before: list[Any] = []

    def __enter__(self) -> Bell:
        # Python gives signals to the main thread, and lets no other thread ask for them: a sweep
        # that a program runs in a thread of its own is ended by that program
        if threading.current_thread() is threading.main_thread():
            self.before = [signal.signal(number, self._hear) for number in self.numbers]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in zip(self.numbers, self.before, strict=False):
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.heard:
                raise KeyboardInterrupt
            sys.stderr.write(TOLD)
        self.heard = (number, frame)

    def answer(self, step: int) -> bool:
        """Return whether training is to stop."""
        return self.heard is not None

    def check(self, cell: Cell) -> None:
        """Raise Interrupted before a cell begins that would be stopped at once."""
        if self.heard:
            raise Interrupted("stopped between two cells")
