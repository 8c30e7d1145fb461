"""Confusion matrices of every method on one column, from the stored predictions.

Legend: K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from benchmark.scores.metrics.confusion import confusion
from results.figures.heatmap import LIGHT
from results.figures.shown import Shown, folded, kind, multiples
from results.figures.style import explain
from results.tables import Column

MOST = 12  # classes whose numbers are written


@kind(
    "confusion",
    "confusion matrices from the stored predictions",
    "no classified cell has stored predictions",
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the matrices of each classified data set, at the column with the most labels."""
    for column in shown.last:
        stored = shown.classified(column, ("test_probs", "test_labels"))
        if stored:
            matrices = {m: added(arrays) for m, arrays in stored.items()}
            yield column.name, draw(shown, column, matrices)


def added(seeds: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """Return the confusion matrix (K, K) added up over seeds: truth along axis 0."""
    pairs = [(s["test_probs"], s["test_labels"]) for s in seeds]
    return np.sum([confusion(p.argmax(1), labels, p.shape[1]) for p, labels in pairs], axis=0)


def shares(matrix: np.ndarray) -> np.ndarray:
    """Return each row in percent of its images; NaN for a class without any."""
    # by row: of a rare class the counts would be pale whatever the method does
    with np.errstate(invalid="ignore"):
        return 100 * matrix / matrix.sum(1, keepdims=True)


def draw(shown: Shown, column: Column, matrices: dict[str, np.ndarray]) -> Figure:
    """Return one matrix per method: of the images of a true class, the percent put into each."""
    figure, axes = multiples(len(matrices), ratio=1.02)
    names = [_cut(name) for name in map(str, next(iter(shown.table.chosen[column]["classes"])))]
    counts = next(iter(matrices.values())).sum(1)
    for one, (method, matrix) in zip(axes, matrices.items(), strict=True):
        sns.heatmap(
            shares(matrix),
            annot=len(matrix) <= MOST,
            fmt=".0f",
            vmin=0,
            vmax=100,
            cmap=LIGHT,
            cbar=False,
            square=True,
            linewidths=0.5,
            annot_kws={"size": 7 if len(matrix) <= 5 else 5, "color": "0.1"},
            xticklabels=names,
            yticklabels=[
                f"{name} ({count:.0f})" for name, count in zip(names, counts, strict=True)
            ],
            ax=one,
        )
        score = shown.table.scores[method, column]
        one.set_title(f"{folded(shown.name(method), 22)}\n{score}", fontsize=7)
        one.tick_params(length=0, labelsize=6.5)
        one.tick_params(axis="x", labelrotation=90 if len(names) > 5 else 30)
        one.tick_params(axis="y", labelrotation=0)
    figure.supxlabel("predicted class", fontsize=8)
    figure.supylabel("true class (images, all runs together)", fontsize=8)
    if title := shown.title(column):
        figure.suptitle(title, fontsize=8)
    explain(figure, "numbers and colours: percent of each true class, 0 white to 100 blue")
    return figure


def _cut(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
