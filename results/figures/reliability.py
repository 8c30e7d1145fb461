"""Reliability diagrams: accuracy against confidence, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.scores import METRICS, Predictions
from benchmark.scores.metrics.calibration import confidence_bins, scaled_probs
from results.figures.shown import Shown, folded, multiples
from results.figures.style import heading, styles
from results.tables import Column

NAMES = ("val_probs", "val_labels", "test_probs", "test_labels")


@dataclass(frozen=True)
class Reliability:
    """Points (confidence, accuracy, share of images) of filled bins, and the mean ECE of seeds."""

    points: np.ndarray
    ece: float


def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the diagrams of each classified data set, at the column with the most labels."""
    for column in shown.last:
        if stored := shown.classified(column, NAMES):
            yield column.name, draw(shown, column, stored)


def measure(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Reliability:
    """Return the reliability of (probabilities, labels) of several seeds, bins over all of them."""
    confidence, bins = confidence_bins(np.concatenate([probs for probs, _ in pairs]))
    right = np.concatenate([probs.argmax(1) == labels for probs, labels in pairs])
    points = [
        (confidence[bins == b].mean(), right[bins == b].mean(), (bins == b).mean())
        for b in np.unique(bins)
    ]
    shown = [Predictions((), {"probs": probs, "labels": labels}) for probs, labels in pairs]
    errors = [METRICS["ece"].scores(one)["ece"] for one in shown]
    return Reliability(np.array(points), float(np.mean(errors)))  # type: ignore[arg-type]


def scaled(seeds: Sequence[dict[str, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return test probabilities after the temperature that each seed's validation set fits."""
    pairs = [(Predictions.of_split(s, (), "test"), s["test_labels"]) for s in seeds]
    return [(scaled_probs(predictions), labels) for predictions, labels in pairs]


def draw(shown: Shown, column: Column, stored: dict[str, list[dict[str, np.ndarray]]]) -> Figure:
    """Return one diagram per method; a bin's marker grows with the images in it."""
    figure, axes = multiples(len(stored), ratio=0.95)
    look = styles(shown.table.methods)
    for one, (method, seeds) in zip(axes, stored.items(), strict=True):
        before = measure([(s["test_probs"], s["test_labels"]) for s in seeds])
        after = measure(scaled(seeds))
        one.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
        _curve(one, before, look[method][0], "as trained")
        _curve(one, after, "0.25", "after temperature")
        errors = f"ECE {before.ece:.2f} → {after.ece:.2f}"
        one.set_title(folded(f"{shown.name(method)}  {errors}"), fontsize=7)
        one.set_xlim(0, 1.03)
        one.set_ylim(0, 1.03)
        one.set_aspect("equal")
        one.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "confidence (solid, filled: as trained; dashed, open: temperature fitted on validation)",
        fontsize=7.5,
    )
    figure.supylabel("accuracy", fontsize=8)
    title = f"{heading(shown.table, column)}, {column.share} of the labels"
    figure.suptitle(title, fontsize=8)
    return figure


def _curve(axes: Axes, found: Reliability, colour: object, label: str) -> None:
    x, y, share = found.points.T
    filled = label == "as trained"
    axes.plot(x, y, color=colour, linestyle="-" if filled else "--", linewidth=1)
    face = colour if filled else "white"
    axes.scatter(x, y, s=4 + 60 * share, facecolor=face, edgecolor=colour, linewidth=0.8, zorder=3)
