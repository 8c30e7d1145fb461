"""What a person sees while cells train: a bar in a terminal or notebook, a line per ended cell."""

from __future__ import annotations

import time
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from benchmark.core.cell import Cell, share_of
from benchmark.core.spec import brief
from benchmark.execution.one import Outcome
from benchmark.scores import metric_of
from benchmark.sweep.estimate import FIXED_S, Forecast, length

NAME_WIDTH, BAR_WIDTH = 50, 14  # with steps and time left beside them: a line of 100 columns


class Display:
    """Context manager; the bar is of the cell that trains here, the time left is of all cells.

    Where cells train in other processes, the bar counts ended cells. `forecast` knows the cells
    that are left, and learns from those that end; without a `console` it is standard error's.
    """

    def __init__(self, forecast: Forecast, console: Console | None = None) -> None:
        self.forecast = forecast
        self.num_cells = len(forecast.left)
        self.num_ended = 0
        self.current: Cell | None = None
        self.methods = [cell.method for cell in forecast.left]
        self.varied = {
            name: len({getattr(cell, name) for cell in forecast.left}) > 1
            for name in ("dataset", "backbone", "fraction", "shots", "split_seed", "seed", "lr")
        }
        self.console = console or Console(stderr=True, highlight=False)
        name = Column(no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
            disable=not self._draws_bars(),
        )
        self.task = self.progress.add_task("reading images", total=None, left="")
        self.started = self.first_step = time.perf_counter()

    def _draws_bars(self) -> bool:
        """Return whether a bar is drawn: on a terminal, and in a notebook that has widgets."""
        if self.console.is_jupyter:  # without ipywidgets rich warns at each step
            return find_spec("ipywidgets") is not None
        return self.console.is_interactive

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.progress.disable:  # into a file rich would end with an empty line
            self.progress.stop()

    def start(self, cell: Cell) -> None:
        """Show the cell that begins in this process."""
        self.started, self.current = time.perf_counter(), cell
        text = f"[{self.num_ended + 1}/{self.num_cells}] {self.name(cell)}"
        self.progress.update(
            self.task, description=text, total=cell.steps, completed=0, left=self.left(0, 0.0)
        )

    def wait(self) -> None:
        """Show that other processes train: the bar is of cells."""
        self.progress.update(
            self.task,
            description="cells in worker processes",
            total=self.num_cells,
            completed=self.num_ended,
            left=self.left(0, 0.0),
        )

    def step(self, steps: int) -> None:
        """Show the number of optimiser steps done."""
        now = time.perf_counter()
        if steps <= 1:
            self.first_step = now
        # the first step also allocates and compiles: what follows it is the pace
        pace = (now - self.first_step) / (steps - 1) if steps > 1 else 0.0
        self.progress.update(self.task, completed=steps, left=self.left(steps, pace * steps))

    def left(self, steps: int, elapsed_s: float) -> str:
        """Return "12 min left", "over 12 min left" while some cells are not known yet, or ""."""
        known = steps if elapsed_s else 0
        seconds, unknown = self.forecast.left_s(self.current, known, elapsed_s)
        if not seconds:
            return ""
        return f"{'over ' if unknown else ''}{length(seconds)} left"

    def end(self, outcome: Outcome) -> None:
        """Print one line for a cell that ended."""
        cell, record = outcome.cell, outcome.record
        seconds = time.perf_counter() - self.started
        if record is None:
            self.forecast.drop(cell)
            text = "n/a: the backbone does not suit the method"
            if outcome.state == "failed":
                text = f"FAILED: {outcome.reason}"
        else:
            # where several train at once, only the record knows what a cell took
            alone = self.forecast.jobs == 1 and cell == self.current
            seconds = seconds if alone else record.cost.train_s + FIXED_S
            self.forecast.learn(cell, seconds, record.cost.steps_done)
            metric = metric_of(record.data.metric)
            val, test = (metric.text(part[metric.name]) for part in (record.val, record.test))
            text = f"{metric.display} val {val}  test {test}"
        self.num_ended += 1
        head = f"[{self.num_ended}/{self.num_cells}] {cell.dataset} {cell.backbone}"
        line = f"{head} {self.name(cell, all_of_it=True)}  {text}  ({seconds:.0f} s)"
        self.console.print(line, markup=False, soft_wrap=True)
        if self.current is None:
            self.wait()

    def name(self, cell: Cell, *, all_of_it: bool = False) -> str:
        """Return "lora(rank=8) 10% seed 0": what tells the cell from the others of this run.

        With `all_of_it` labels and seed stand there even where all cells share them.
        """
        varied = self.varied
        labels = share_of(cell.fraction, cell.shots)
        words = {
            cell.dataset: varied["dataset"] and not all_of_it,
            cell.backbone: varied["backbone"] and not all_of_it,
            brief(cell.method, self.methods): True,
            labels: varied["fraction"] or varied["shots"] or all_of_it,
            f"split {cell.split_seed}": varied["split_seed"],
            f"seed {cell.seed}": varied["seed"] or all_of_it,
            cell.tuned: bool(cell.tuned),
            f"lr {cell.lr:g}": varied["lr"] and self.methods.count(cell.method) > 1,
        }
        return " ".join(word for word, is_shown in words.items() if is_shown)
