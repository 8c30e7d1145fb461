"""Training curves: training loss and validation score over optimiser steps, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmark.scores import metric_of
from results.figures.shown import Shown, record
from results.figures.style import PAGE, heading, line, styles, theme, unit_of
from results.tables import Column

Curve = list[tuple[float, float]]  # (step, value)


def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the curves of each data set, at the column with the most labels."""
    for column in shown.last:
        found = {
            method: histories
            for method, folders in shown.folders(column).items()
            if (histories := _histories(folders))
        }
        if found:
            yield column.name, draw(shown, column, found)


def _histories(folders: Sequence[Path]) -> list[list[dict[str, float | None]]]:
    return [history for folder in folders if (history := record(folder)["history"])]


def mean_curve(histories: Sequence[Sequence[dict[str, float | None]]], name: str) -> Curve:
    """Return the mean over seeds of a value at each step that all of them have."""
    by_step: dict[float, list[float]] = {}
    for history in histories:
        for point in history:
            if (value := point.get(name)) is not None and point["step"] is not None:
                by_step.setdefault(point["step"], []).append(value)
    return [
        (step, float(np.mean(values)))
        for step, values in sorted(by_step.items())
        if len(values) == len(histories)
    ]


def draw(
    shown: Shown, column: Column, found: dict[str, list[list[dict[str, float | None]]]]
) -> Figure:
    """Return training loss (left) and validation score (right), means over seeds."""
    theme()
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.5), layout="constrained")
    look = styles(shown.table.methods)
    for method, histories in found.items():
        colour, marker = look[method]
        names = (
            (left, "train_loss", 1.0),
            (right, f"val_{column.metric}", metric_of(column.metric).scale),
        )
        for axes, name, unit in names:
            curve = [(x, unit * y) for x, y in mean_curve(histories, name)]
            if curve:
                label = shown.name(method) if axes is right else None
                style = line(shown.table.methods, method)
                axes.plot(
                    *zip(*curve, strict=True), style, color=colour, marker=marker, label=label
                )
    left.set_ylabel("training loss")
    right.set_ylabel(f"validation\n{unit_of(column)}")
    for axes in (left, right):
        axes.set_xlabel("optimiser step")
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{heading(shown.table, column)}, {column.share} of the labels", fontsize=8)
    figure.legend(loc="outside right center", frameon=False)
    return figure
