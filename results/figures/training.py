"""Training curves: training loss and validation score over optimiser steps, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmark.scores import metric_of
from results.figures.shown import Shown, kind, record, unit_of
from results.figures.style import PAGE, explain, new, open_axes, parts
from results.tables import Column

Curve = list[tuple[float, float]]  # (step, value)


@kind("training", "training loss and validation score over steps", "no record has a history")
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the curves of each data set, at the column with the most labels.

    Nearest neighbours were evaluated, but took no step: they have no curve.
    """
    for column in shown.last:
        found = {}
        for method, folders in shown.folders(column).items():
            histories = [record(folder)["history"] for folder in folders]
            trained = [h for h in histories if any(p["train_loss"] is not None for p in h)]
            if trained:
                found[method] = trained
        if found:
            yield column.name, draw(shown, column, found)


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
        # a mean over fewer seeds at some steps would jump where one of them ended
        if len(values) == len(histories)
    ]


def draw(
    shown: Shown, column: Column, found: dict[str, list[list[dict[str, float | None]]]]
) -> Figure:
    """Return training loss (left) and validation score (right), means over runs.

    More than ten methods are drawn in rows of panels, in each of which the others are grey.
    """
    panels = parts(list(found))
    figure, grid = new(len(panels), 2, (PAGE, 2.5 * len(panels)), sharex=True, sharey="col")
    names = (("train_loss", 1.0), (f"val_{column.metric}", metric_of(column.metric).scale))
    for row, drawn in zip(grid, panels, strict=True):
        for axes, (name, unit) in zip(row, names, strict=True):
            open_axes(axes)
            for method, histories in found.items():
                curve = [(x, unit * y) for x, y in mean_curve(histories, name)]
                if not curve:
                    continue
                if method in drawn:
                    look = shown.looks[method].style
                    axes.plot(*zip(*curve, strict=True), **look, label=shown.name(method))
                else:
                    axes.plot(*zip(*curve, strict=True), color="0.85", linewidth=0.8, zorder=1)
        row[0].set_ylabel("training loss")
        row[1].set_ylabel(f"validation\n{unit_of(column)}")
        row[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    for axes in grid[-1]:
        axes.set_xlabel("optimiser step")
    if title := shown.title(column):
        figure.suptitle(title, fontsize=8)
    if len(panels) > 1:
        explain(figure, "grey: the methods of the other rows")
    return figure
