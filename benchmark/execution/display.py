"""What a person sees while cells train: a bar on a terminal, a line per finished cell anywhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmark.core.cell import Cell
from benchmark.core.record import Record
from benchmark.sweep.estimate import FIXED_S, Forecast, length


class Display:
    """Context manager; the bar is of the cell that trains, the time left is of all cells."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.num_cells = len(forecast.left)
        self.num_ended = 0
        self.current: Cell | None = None
        self.console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn())
        left = TextColumn("{task.fields[left]}")
        self.progress = Progress(*columns, left, console=self.console, transient=True)
        self.task = self.progress.add_task("", total=None, left="")
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
        self.started, self.current = time.perf_counter(), cell
        text = f"[{self.num_ended + 1}/{self.num_cells}] {_name(cell)}"
        total = cell.steps
        self.progress.update(
            self.task, description=text, total=total, completed=0, left=self.left(0)
        )

    def step(self, steps: int) -> None:
        """Show the number of optimiser steps done."""
        self.progress.update(self.task, completed=steps, left=self.left(steps))

    def left(self, steps: int) -> str:
        """Return "about 12 min left", and of how many kinds of cells nothing is known yet."""
        elapsed = time.perf_counter() - self.started
        seconds, strange = self.forecast.left_s(self.current, steps, elapsed)
        rest = f"{strange} kind{'s' * (strange > 1)} of cells unknown" if strange else ""
        known = f"about {length(seconds)} left" if seconds or not strange else ""
        return ", ".join(filter(None, (known, rest)))

    def finish(self, cell: Cell, record: Record | None) -> None:
        """Print one line for a cell that ended well, or that its method does not support."""
        if record is None:
            self.forecast.drop(cell)
            return self._line(cell, "n/a: the backbone does not suit the method")
        self._learn(cell, record)
        metric = record.data["metric"]
        scores = "  ".join(
            f"{part} {100 * (value or 0):.1f}"
            for part, value in (("val", record.val[metric]), ("test", record.test[metric]))
        )
        return self._line(cell, f"{metric} {scores}")

    def fail(self, cell: Cell, reason: str) -> None:
        """Print one line for a cell that failed."""
        self.forecast.drop(cell)
        self._line(cell, f"FAILED: {reason}")

    def _learn(self, cell: Cell, record: Record) -> None:
        """Note what a cell took; where several train at once, its record tells."""
        alone = self.forecast.jobs == 1 and cell == self.current
        elapsed = time.perf_counter() - self.started
        self.forecast.learn(cell, elapsed if alone else record.cost["train_s"] + FIXED_S)

    def _line(self, cell: Cell, text: str) -> None:
        self.num_ended += 1
        seconds = time.perf_counter() - self.started
        head = f"[{self.num_ended}/{self.num_cells}] {_name(cell)}"
        self.console.print(f"{head}  {text}  ({seconds:.0f} s)", markup=False, soft_wrap=True)


def _name(cell: Cell) -> str:
    method = cell.method.partition("(")[0]
    labels = f"{cell.shots}-shot" if cell.shots else f"{100 * cell.fraction:g}%"
    return f"{cell.dataset} {cell.backbone} {method} {labels} seed {cell.seed}"
