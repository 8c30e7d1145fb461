"""What a figure is drawn from: a table, the rows below it and the folders of its cells.

Legend: n images, K classes, S image side.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.core.record import RECORD
from results.figures.style import PAGE, theme
from results.frame.predictions import PREDICTIONS
from results.tables import Column, Table
from results.tables.naming import brief


@dataclass(frozen=True)
class Shown:
    """One table to draw, and the rows of all cells."""

    table: Table
    rows: pd.DataFrame
    runs: tuple[Path, ...] = ()

    @property
    def last(self) -> list[Column]:
        """Return the column with the most labels of each data set."""
        found: dict[str, Column] = {}
        for column in self.table.columns:
            name = column.name
            if name not in found or column.labels >= found[name].labels:
                found[name] = column
        return list(found.values())

    def of_table(self) -> pd.DataFrame:
        """Return the rows of the table's backbone, weights and image size, all trials."""
        return self.table.of(self.rows)

    def folders(self, column: Column) -> dict[str, list[Path]]:
        """Return the folders of the chosen cells of each method with a number in this column."""
        best = self.table.chosen[column]
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
                if arrays := _arrays(folder / PREDICTIONS, names):
                    found.setdefault(method, []).append(arrays)
        return found

    def classified(
        self, column: Column, names: Sequence[str]
    ) -> dict[str, list[dict[str, np.ndarray]]]:
        """Return the same where every image has one class, else nothing."""
        found = self.predictions(column, names)
        single = all(seed["test_labels"].ndim == 1 for seeds in found.values() for seed in seeds)
        return found if single else {}

    def name(self, method: str) -> str:
        """Return the short name of a method."""
        return brief(method, self.table.methods)


def _arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of a file by name; empty where one of them, or the file, is not there."""
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return {n: stored[n] for n in names} if set(names) <= set(stored.files) else {}


def record(folder: Path) -> dict[str, Any]:
    """Return the JSON of a cell's record, which the frame has checked already."""
    found: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return found


def folded(text: str, width: int = 30) -> str:
    """Return a title in lines of at most `width` letters, broken at its commas where it must."""
    return "\n".join(textwrap.wrap(text.replace(",", ", "), width))


def multiples(num: int, across: int = 4, ratio: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Return a figure as wide as a page with `num` axes, at most `across` in a row.

    `ratio` is the height of one over its width. Axes share their scales; unused ones are hidden.
    """
    theme()
    wide = min(across, num)
    high = math.ceil(num / wide)
    width = PAGE * wide / across
    size = (width, high * (PAGE / across) * ratio)
    figure, grid = plt.subplots(
        high, wide, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    axes = list(grid.flat)
    for unused in axes[num:]:
        unused.set_visible(False)
    return figure, axes[:num]


def outer(figure: Figure, axes: Sequence[Axes], across: int = 4) -> Iterator[tuple[Axes, bool]]:
    """Yield each of the axes and whether nothing stands below it."""
    wide = min(across, len(axes))
    for place, one in enumerate(axes):
        yield one, place + wide >= len(axes)
