"""Segmentation panels: image, truth, what each method predicts, and where it errs.

Masks are the stored predictions; the images come from `OUT/panels/` (`report --panels N`).

Legend: n images, S image side.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from benchmark.core.files import open_arrays
from benchmark.scores.metrics.overlap import IGNORE, dice, overlap
from results.figures.shown import Shown, folded, kind
from results.figures.style import PAGE, new
from results.tables import Column

FOLDER = "panels"
PANELS_AGAIN = "run `report --panels N` again"
NAMES = ("test_ids", "test_masks", "test_truth")
MOST = 6  # methods beside image and truth
# Errors: nothing where something is, something where nothing is, one class for another.
ERRORS = {"missed": "#0072B2", "false alarm": "#D55E00", "wrong class": "#F0E442"}


@kind(
    "panels",
    "segmented images with the errors of each method",
    "no image of a segmented test set was read; `report --panels N` reads them where the data is",
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield the panels of each segmented data set, at the column with the most labels."""
    for column in shown.last:
        stored = shown.predictions(column, NAMES)
        kept = images(shown, column)
        masks = {m: found for m, seeds in stored.items() if (found := _rows(seeds[0], kept))}
        if masks:
            yield column.name, draw(shown, column, kept, dict(list(masks.items())[:MOST]))


def images(shown: Shown, column: Column) -> dict[str, np.ndarray]:
    """Return the stored test images (S, S, 3) of a column's data set by id; empty without any."""
    found: dict[str, np.ndarray] = {}
    for data in shown.table.chosen[column]["data"].unique():
        for folder in shown.runs:
            path = folder / FOLDER / f"images-{data}-{shown.table.image_size}.npz"
            found |= read_images(path)
    return found


def read_images(path: Path) -> dict[str, np.ndarray]:
    """Return the images of one file by id; empty where it is not there."""
    if not path.exists():
        return {}
    with open_arrays(path, PANELS_AGAIN) as stored:
        return dict(zip(map(str, stored["ids"]), stored["images"], strict=True))


def _rows(
    stored: dict[str, np.ndarray], kept: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (mask, truth) of the kept images by id."""
    places = {str(name): i for i, name in enumerate(stored["test_ids"])}
    return {
        name: (stored["test_masks"][places[name]], stored["test_truth"][places[name]])
        for name in kept
        if name in places
    }


def error_map(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return 0 right, 1 missed, 2 false alarm, 3 wrong class, (S, S); uncounted truth is right."""
    wrong = (mask != truth) & (truth != IGNORE)
    kinds = np.where(mask == 0, 1, np.where(truth == 0, 2, 3))
    return np.where(wrong, kinds, 0)


def dice_of(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean Dice x 100 over the foreground classes in mask or truth; NaN without any."""
    num_classes = 1 + max(int(mask.max()), int(np.where(truth == IGNORE, 0, truth).max()))
    each = dice(**overlap(mask[None], truth[None], num_classes))[0, 1:]
    return 100 * float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def tinted(image: np.ndarray, mask: np.ndarray, colours: list[str], share: float) -> np.ndarray:
    """Return `image` (S, S, 3) in [0, 1] with mask value k > 0 tinted by `colours[k - 1]`."""
    out: np.ndarray = image.astype(float) / 255
    for k, colour in enumerate(colours, 1):
        out[mask == k] = (1 - share) * out[mask == k] + share * np.array(to_rgb(colour))
    return out


def draw(
    shown: Shown,
    column: Column,
    kept: dict[str, np.ndarray],
    masks: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]],
) -> Figure:
    """Return two rows per image: predictions over the image, and below them the errors."""
    ids = [name for name in kept if all(name in found for found in masks.values())]
    classes = list(next(iter(shown.table.chosen[column]["classes"])))[1:]
    colours = [sns.color_palette("colorblind").as_hex()[i % 10] for i in (2, 4, 8, 9, 1, 3, 5)]
    colours = [colours[i % len(colours)] for i in range(len(classes))]
    across = 1 + len(masks)
    side = min(1.1, PAGE / across)
    figure, grid = new(
        2 * len(ids),
        across,
        (side * across, side * 2 * len(ids) + 0.6),
        layout=ConstrainedLayoutEngine(wspace=0.01, hspace=0.01, w_pad=0.01, h_pad=0.01),
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for place, name in enumerate(ids):
        above, below = grid[2 * place], grid[2 * place + 1]
        truth = next(iter(masks.values()))[name][1]
        above[0].imshow(kept[name])
        below[0].imshow(tinted(kept[name], truth, colours, 0.6))
        for number, found in enumerate(masks.values(), 1):
            _prediction((above[number], below[number]), kept[name], found[name], colours)
    titles = ("image, truth below", *(f"{shown.name(m)}, errors below" for m in masks))
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(folded(title, 16), fontsize=7, pad=3)
    # the legend names what can occur
    errors = list(ERRORS.items())[: 2 + (len(classes) > 1)]  # one class cannot be another
    named = {**dict(zip(classes, colours, strict=True)), **dict(errors)}
    figure.legend(
        handles=[Patch(facecolor=colour, label=label) for label, colour in named.items()][:12],
        loc="outside lower center",
        ncol=max(1, min(len(named), across)),
        frameon=False,
    )
    if title := shown.title(column):
        figure.suptitle(folded(title, max(24, round(14 * side * across))), fontsize=8)
    return figure


def _prediction(
    pair: tuple[Axes, Axes],
    image: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    colours: list[str],
) -> None:
    mask, truth = found
    pair[0].imshow(tinted(image, mask, colours, 0.6))
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2) * 0.4 + 150
    pair[1].imshow(tinted(grey, error_map(mask, truth), list(ERRORS.values()), 0.9))
    value = dice_of(mask, truth)
    text = "no foreground" if np.isnan(value) else f"Dice {value:.0f}"
    style = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    pair[1].text(0.03, 0.04, text, transform=pair[1].transAxes, size=6, bbox=style)
