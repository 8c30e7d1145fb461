"""Reliability diagrams: accuracy against confidence, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from benchmark.scores import METRICS, Predictions
from benchmark.scores.metrics.calibration import confidence_bins, scaled_probs
from results.figures.shown import Shown, folded, kind, multiples
from results.figures.style import explain
from results.tables import Column

FEWEST = 5  # images, below which the accuracy of a bin is noise and is not drawn
NAMES = ("val_probs", "val_labels", "test_probs", "test_labels")


@dataclass(frozen=True)
class Reliability:
    """Points (confidence, accuracy, number of images) of filled bins, and the mean ECE of seeds."""

    points: np.ndarray
    ece: float


@kind(
    "reliability",
    "accuracy against confidence, before and after temperature scaling",
    "no classified cell has stored predictions of validation and test",
)
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
        (confidence[bins == b].mean(), right[bins == b].mean(), (bins == b).sum())
        for b in np.unique(bins)
    ]
    shown = [Predictions((), {"probs": probs, "labels": labels}) for probs, labels in pairs]
    # by seed, then averaged, as in the tables; the points are of all seeds, to fill the bins
    errors = [METRICS["ece"].scores(one)["ece"] for one in shown]
    return Reliability(np.array(points), float(np.mean(errors)))  # type: ignore[arg-type]


def scaled(seeds: Sequence[dict[str, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return test probabilities after the temperature that each seed's validation set fits."""
    pairs = [(Predictions.of_split(s, (), "test"), s["test_labels"]) for s in seeds]
    return [(scaled_probs(predictions), labels) for predictions, labels in pairs]


def draw(shown: Shown, column: Column, stored: dict[str, list[dict[str, np.ndarray]]]) -> Figure:
    """Return one diagram per method; a bin's marker grows with the images in it."""
    figure, axes = multiples(len(stored), ratio=0.95)
    for one, (method, seeds) in zip(axes, stored.items(), strict=True):
        before = measure([(s["test_probs"], s["test_labels"]) for s in seeds])
        after = measure(scaled(seeds))
        one.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
        colour = shown.looks[method].colour
        for found, line, face, edge in (
            (before, "-", colour, colour),
            (after, "--", "white", "0.25"),
        ):
            kept = found.points[found.points[:, 2] >= FEWEST]
            x, y, count = kept.T
            size = 4 + 60 * count / found.points[:, 2].sum()
            one.plot(x, y, color=edge, linestyle=line, linewidth=1)
            one.scatter(x, y, s=size, facecolor=face, edgecolor=edge, linewidth=0.8, zorder=3)
        errors = f"ECE {before.ece:.2f} → {after.ece:.2f}"
        one.set_title(f"{folded(shown.name(method), 22)}\n{errors}", fontsize=7)
        one.set_xlim(0, 1.03)
        one.set_ylim(0, 1.03)
        one.set_aspect("equal")
        one.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("confidence", fontsize=8)
    figure.supylabel("accuracy", fontsize=8)
    if title := shown.title(column):
        figure.suptitle(title, fontsize=8)
    explain(
        figure,
        "filled: as trained; open: temperature fitted on validation; a dot: a bin of confidence,\n"
        f"its area the share of images; bins of fewer than {FEWEST} images are left out",
    )
    return figure
