"""What a figure is drawn from: a table, the rows below it and the folders of its cells.

Legend: n images, K classes, S image side.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.core.files import AGAIN, PREDICTIONS, read_json
from benchmark.core.record import RECORD
from benchmark.core.registry import InputError, Registry
from benchmark.core.spec import base_name
from benchmark.scores import metric_of
from results.figures.style import COLUMN, PAGE, Look, looks, new
from results.frame.predictions import read_arrays
from results.tables import Column, Table, place
from results.tables.naming import displayed

if TYPE_CHECKING:
    from results.statistics.stats import Statistics


@dataclass(frozen=True)
class Shown:
    """One table to draw, and the rows of all cells.

    `width` is that of the page or column it is printed in, in inches; without `titles` no figure
    has one. `display` answers with the name for readers of a ("method", "data" or "backbone",
    name).
    """

    table: Table
    rows: pd.DataFrame
    runs: tuple[Path, ...] = ()
    statistics: Statistics | None = None
    width: float = COLUMN
    titles: bool = True
    display: Callable[[str, str], str] = lambda kind, name: name
    problems: dict[str, None] = field(default_factory=dict, repr=False)  # sentences, each once
    _names: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def datasets(self) -> dict[str, list[Column]]:
        """Return the columns of each data set, by rising number of labels."""
        found: dict[str, list[Column]] = {}
        for column in self.table.columns:
            found.setdefault(column.name, []).append(column)
        return {name: sorted(columns, key=lambda c: c.labels) for name, columns in found.items()}

    @property
    def last(self) -> list[Column]:
        """Return the column with the most labels of each data set."""
        return [columns[-1] for columns in self.datasets.values()]

    @property
    def looks(self) -> dict[str, Look]:
        """Return the look of each method."""
        return looks(self.table.methods)

    def of_table(self) -> pd.DataFrame:
        """Return the rows of the table's backbone, weights and image size, all trials."""
        return self.table.of(self.rows)

    def folders(self, column: Column) -> dict[str, list[Path]]:
        """Return the folders of the chosen cells of each method with a number in this column."""
        # the chosen trial alone: others were not reported, and their pictures would be of others
        best = self.table.chosen[column].dropna(subset="train_s")  # scores of others have none
        found = {}
        for method in self.table.methods:
            there = [Path(folder) for folder in best[best["method"] == method]["folder"]]
            if there and self.table.scores[method, column].mean is not None:
                found[method] = there
        return found

    def predictions(
        self, column: Column, names: Sequence[str]
    ) -> dict[str, list[dict[str, np.ndarray]]]:
        """Return these arrays of the stored predictions by method, one entry per seed."""
        found: dict[str, list[dict[str, np.ndarray]]] = {}
        for method, folders in self.folders(column).items():
            for folder in folders:
                if not (folder / PREDICTIONS).exists():
                    continue
                try:
                    stored = read_arrays(folder / PREDICTIONS, names)
                except InputError as error:  # the others are drawn
                    self.problems[str(error)] = None
                    continue
                if set(names) == set(stored):
                    found.setdefault(method, []).append(stored)
        return found

    def classified(
        self, column: Column, names: Sequence[str]
    ) -> dict[str, list[dict[str, np.ndarray]]]:
        """Return the same where every image has one class, else nothing."""
        found = self.predictions(column, names)
        single = all(seed["test_labels"].ndim == 1 for seeds in found.values() for seed in seeds)
        return found if single else {}

    def name(self, method: str) -> str:
        """Return the name of a method for readers, unlike that of any other in the table."""
        if not self._names:
            bases = dict.fromkeys(base_name(m) for m in self.table.methods)
            shown = {base: self.display("method", base) for base in bases}
            self._names.update(displayed(self.table.methods, shown))
        return self._names[method]

    def dataset(self, column: Column) -> str:
        """Return the name of a column's data set for readers; synthetic data is marked."""
        note = f" {column.note}" if column.note else ""
        mark = " (synthetic)" if column.synthetic else ""
        return self.display("data", column.dataset) + note + mark

    @property
    def backbone(self) -> str:
        """Return the backbone for readers, with what tells the table from others."""
        return self.table.named(self.display)

    @property
    def place(self) -> str:
        """Return the backbone with the size of its images."""
        return place(self.backbone, self.table.image_size)

    def title(self, column: Column, *, share: bool = True) -> str:
        """Return data set, share of the labels and backbone; "" where titles are off."""
        if not self.titles:
            return ""
        used = f", {column.share} of the labels" if share and not column.shots else ""
        used = f", {column.share}" if share and column.shots else used
        return f"{self.dataset(column)}{used} ({self.place})"

    def spread(self, columns: Sequence[Column]) -> str:
        """Return what error bars are: "bars: standard deviation over 3 seeds"; "" without any."""
        counts = {
            self.table.scores[m, c].num_seeds
            for m in self.table.methods
            for c in columns
            if self.table.scores[m, c].spread is not None
        }
        if not counts:
            return ""
        several = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"
        return f"bars: ± one standard deviation over {several} runs"


Draw = Callable[[Shown], Iterator[tuple[str, Figure]]]


@dataclass(frozen=True)
class Kind:
    """A kind of figure: a function that yields (name, figure) for a table, and words about it.

    `shows` completes "a figure of ..."; `needs` is the reason where it yields nothing. `default`
    kinds are drawn when nobody asks for any.
    """

    draw: Draw
    shows: str
    needs: str
    default: bool = False


KINDS: Registry[Kind] = Registry("kind of figure")


def kind(name: str, shows: str, needs: str, *, default: bool = False) -> Callable[[Draw], Draw]:
    """Return a decorator that registers a function as the kind of figure `name`."""

    def register(draw: Draw) -> Draw:
        KINDS.add(name)(Kind(draw, shows, needs, default))
        return draw

    return register


def record(folder: Path) -> dict[str, Any]:
    """Return the JSON of a cell's record, which the frame has checked already."""
    values: dict[str, Any] = read_json(folder / RECORD, AGAIN)
    return values


def folded(text: str, width: int = 30) -> str:
    """Return a title in lines of at most `width` letters, broken at its commas where it must."""
    return "\n".join(textwrap.wrap(text.replace(",", ", ").replace("  ", " "), width))


def multiples(num: int, width: float = PAGE, ratio: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Return a figure with `num` axes: four in a row of a page, two in a column.

    `ratio` is the height of one over its width. Axes share their scales; unused ones are hidden.
    """
    # a panel keeps its size in print, whatever the width: its text is 6.5 points
    across = max(1, round(4 * width / PAGE))
    wide = min(across, num)
    high = math.ceil(num / wide)
    side = width / across
    figure, grid = new(high, wide, (side * wide, high * side * ratio), sharex=True, sharey=True)
    axes = list(grid.flat)
    for unused in axes[num:]:
        unused.set_visible(False)
    return figure, axes[:num]


def unit_of(column: Column) -> str:
    """Return the metric in words with its unit, such as "balanced accuracy (%)"."""
    metric = metric_of(column.metric)
    return (
        f"{metric.display} (%)"
        if metric.is_share
        else f"{metric.display}" + (f" ({metric.unit})" if metric.unit else "")
    )
