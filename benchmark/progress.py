"""What a person sees while cells train: a bar on a terminal, a line per finished cell anywhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.record import Record
from benchmark.spec import Cell


class Display:
    """Context manager; the steps of all cells make one bar, so that the time left is of all."""

    def __init__(self, num_cells: int) -> None:
        self.num_cells = num_cells
        self.num_ended = 0
        self.console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn())
        self.progress = Progress(
            *columns, TimeRemainingColumn(), console=self.console, transient=True
        )
        self.task = self.progress.add_task("", total=None)
        self.started = time.perf_counter()

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def start(self, cell: Cell) -> None:
        """Show the cell that begins."""
        self.started = time.perf_counter()
        text = f"[{self.num_ended + 1}/{self.num_cells}] {_name(cell)}"
        self.progress.update(self.task, description=text, total=cell.steps, completed=0)

    def step(self, steps: int) -> None:
        """Show the number of optimiser steps done."""
        self.progress.update(self.task, completed=steps)

    def finish(self, cell: Cell, record: Record | None) -> None:
        """Print one line for a cell that ended well, or that its method does not support."""
        if record is None:
            return self._line(cell, "n/a: the backbone does not suit the method")
        metric = record.data["metric"]
        scores = "  ".join(
            f"{part} {100 * (value or 0):.1f}"
            for part, value in (("val", record.val[metric]), ("test", record.test[metric]))
        )
        return self._line(cell, f"{metric} {scores}")

    def fail(self, cell: Cell, reason: str) -> None:
        """Print one line for a cell that failed."""
        self._line(cell, f"FAILED: {reason}")

    def _line(self, cell: Cell, text: str) -> None:
        self.num_ended += 1
        seconds = time.perf_counter() - self.started
        head = f"[{self.num_ended}/{self.num_cells}] {_name(cell)}"
        self.console.print(f"{head}  {text}  ({seconds:.0f} s)", markup=False, soft_wrap=True)


def _name(cell: Cell) -> str:
    method = cell.method.partition("(")[0]
    labels = f"{cell.shots}-shot" if cell.shots else f"{100 * cell.fraction:g}%"
    return f"{cell.dataset} {cell.backbone} {method} {labels} seed {cell.seed}"
