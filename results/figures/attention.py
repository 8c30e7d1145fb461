"""Where DVPT's prompts look: attention of the prompts over the image, block by block.

The maps come from `OUT/panels/` (`report --panels N`): 1 is what even attention would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from benchmark.core.files import open_arrays
from results.figures.panels import FOLDER, PANELS_AGAIN
from results.figures.shown import Shown, kind
from results.figures.style import PAGE, explain, new
from results.tables import Column

BLOCKS = 5
Scale = tuple[float, float]  # multiples of even attention at both ends of the colours


@dataclass(frozen=True)
class Maps:
    """Images (n, S, S, 3); by block, maps (n, h, w) and the share of tokens that is read (n,)."""

    images: np.ndarray
    blocks: tuple[int, ...]
    maps: tuple[np.ndarray, ...]
    shares: tuple[np.ndarray, ...]


@kind(
    "attention",
    "where the prompts of DVPT look",
    "no attention was read; `report --panels N` reads that of dvpt cells with stored deltas",
)
def figures(shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield one figure per data set and method whose attention was kept."""
    for column in shown.last:
        best = shown.table.chosen[column]
        for method in shown.table.methods:
            keys = best[best["method"] == method]["key"]
            found = next(filter(None, (read(shown, key) for key in keys)), None)
            if found:
                yield (
                    f"{column.name}-{_plain(shown.name(method))}",
                    draw(shown, column, method, found),
                )


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_.=" else "-" for c in name).strip("-")


def read(shown: Shown, key: str) -> Maps | None:
    """Return the kept attention of a cell, or None."""
    for folder in shown.runs:
        path = folder / FOLDER / f"attention-{key}.npz"
        if path.exists():
            with open_arrays(path, PANELS_AGAIN) as stored:
                blocks = tuple(int(b) for b in stored["blocks"])
                return Maps(
                    stored["images"],
                    blocks,
                    tuple(stored[f"map_{b}"] for b in blocks),
                    tuple(stored[f"share_{b}"] for b in blocks),
                )
    return None


def spread(count: int, most: int = BLOCKS) -> list[int]:
    """Return at most `most` places of `count`, evenly from the first to the last."""
    return sorted({round(x) for x in np.linspace(0, count - 1, min(most, count))})


def limits(maps: Sequence[np.ndarray]) -> Scale:
    """Return a scale around 1 that is symmetric in factors: (1 / f, f), f at least 1.05."""
    values = np.concatenate([m.ravel() for m in maps])
    # without the last percent at both ends: one bright token would make the rest grey
    low, high = np.quantile(values, [0.01, 0.99])
    factor = max(high, 1 / max(low, 1e-3), 1.05)
    return 1 / factor, factor


def draw(shown: Shown, column: Column, method: str, found: Maps) -> Figure:
    """Return a row per image: the image, then the mean attention of all prompts at some blocks."""
    places = spread(len(found.blocks))
    rows, across = len(found.images), 1 + len(places)
    side = min(1.3, PAGE / (across + 0.5))
    figure, grid = new(rows, across, (side * across + 0.6, side * rows + 0.6))
    scale = limits([found.maps[p] for p in places])
    for row, axes in enumerate(grid):
        axes[0].imshow(found.images[row])
        for one, p in zip(axes[1:], places, strict=True):
            drawn = _over(one, found.images[row], found.maps[p][row], scale)
            share = 100 * float(found.shares[p][row])
            one.set_xlabel(f"{share:.0f}% of tokens", fontsize=6, labelpad=2)
        for one in axes:
            one.set_xticks([])
            one.set_yticks([])
            one.spines[:].set_visible(False)
    titles = ["image", *(f"block {found.blocks[p] + 1}" for p in places)]
    for one, title in zip(grid[0], titles, strict=True):
        one.set_title(title, fontsize=7, pad=3)
    _bar(figure.colorbar(drawn, ax=grid, shrink=0.7, aspect=25), scale)
    if title := shown.title(column):
        figure.suptitle(f"{shown.name(method)}: {title}", fontsize=8)
    explain(figure, "% of tokens: how many a prompt reads in effect, exp(entropy) / N")
    return figure


def _over(axes: Axes, image: np.ndarray, attention: np.ndarray, scale: Scale) -> AxesImage:
    """Draw attention (h, w) over the grey image (S, S, 3), its colours even in factors."""
    axes.imshow(image.mean(2), cmap="gray", vmin=0, vmax=255)
    size = image.shape[0]
    return axes.imshow(
        np.log2(attention),
        cmap="PuOr_r",
        vmin=np.log2(scale[0]),
        vmax=np.log2(scale[1]),
        extent=(-0.5, size - 0.5, size - 0.5, -0.5),
        alpha=0.65,
        interpolation="nearest",
    )


def _bar(bar: Colorbar, scale: Scale) -> None:
    low, high = scale
    ticks = [float(np.log2(t)) for t in (low, low**0.5, 1, high**0.5, high)]
    bar.set_ticks(ticks, labels=[f"{2**t:.3g}x" for t in ticks])
    bar.set_label("attention / even attention", fontsize=7)
    bar.outline.set_visible(False)
