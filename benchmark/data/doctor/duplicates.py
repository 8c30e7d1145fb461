"""Near-duplicate images: thumbnails that correlate, in blocks, so that memory stays bounded.

Legend: n images, t the side of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

THRESHOLD = 0.95  # correlation of the large thumbnails
SMALL, LARGE = 32, 64  # sides: the small ones find candidates, the large ones decide
SLACK = 0.03  # small thumbnails correlate more, hardly ever less, than large ones
BLOCK = 2048
# Of an image the nearest this many are kept. Where all images look alike (fundus photographs, one
# scanner's chests) a quarter of all pairs pass 0.92: 1.4e9 pairs of 100,000 images, and as many
# say no more than the nearest ones.
NEAREST = 20


@dataclass(frozen=True)
class Pair:
    """Rows `a` < `b` of two images and the correlation of their thumbnails."""

    a: int
    b: int
    correlation: float


class Thumbnails:
    """Grey thumbnails of n images, added one by one: images are decoded once for all checks.

    Small ones are float32 (4 kB an image), large ones bytes (4 kB): 0.8 GB for 100,000 images.
    """

    def __init__(self, count: int) -> None:
        self.small = np.zeros((count, SMALL * SMALL), np.float32)
        self.large = np.zeros((count, LARGE * LARGE), np.uint8)

    def add(self, index: int, image: np.ndarray) -> None:
        """Keep the thumbnails of image `index`, (H, W, 3) uint8."""
        self.small[index] = thumbnail(image, SMALL)
        self.large[index] = _grey(image, LARGE).ravel()

    def pairs(self, threshold: float = THRESHOLD) -> tuple[list[Pair], int]:
        """Return (pairs above `threshold`, number of images with more than `NEAREST` candidates).

        A pair is kept where it is among the nearest of one of its two images. Constant images are
        no copies of anything.
        """
        count, limit = len(self.small), threshold - SLACK
        values = np.full((count, NEAREST), -1.0, np.float32)
        partners = np.zeros((count, NEAREST), np.int64)
        candidates = np.zeros(count, np.int64)

        def keep(rows: slice, columns: slice, product: np.ndarray) -> None:
            """Merge the nearest of `columns` into what `rows` have kept so far."""
            candidates[rows] += (product > limit).sum(1)
            most = min(NEAREST, product.shape[1])
            best = np.argpartition(product, -most, axis=1)[:, -most:]
            found = np.hstack([values[rows], np.take_along_axis(product, best, 1)])
            names = np.hstack([partners[rows], best + columns.start])
            chosen = np.argpartition(found, -NEAREST, axis=1)[:, -NEAREST:]
            values[rows] = np.take_along_axis(found, chosen, 1)
            partners[rows] = np.take_along_axis(names, chosen, 1)

        blocks = [slice(k, min(k + BLOCK, count)) for k in range(0, count, BLOCK)]
        for number, rows in enumerate(blocks):
            for columns in blocks[number:]:
                # both have mean 0 and norm 1, so the product is the correlation
                product = self.small[rows] @ self.small[columns].T
                if rows == columns:
                    np.fill_diagonal(product, -1)
                if product.max(initial=-1) <= limit:
                    continue
                keep(rows, columns, product)
                if rows != columns:
                    keep(columns, rows, product.T)
        firsts, places = np.nonzero(values > limit)
        seconds = partners[firsts, places]
        both = np.stack([np.minimum(firsts, seconds), np.maximum(firsts, seconds)], 1)
        pairs = []
        for a, b in np.unique(both, axis=0).tolist():
            value = float(_unit(self.large[a]) @ _unit(self.large[b]))
            if value > threshold:
                pairs.append(Pair(a, b, value))
        return pairs, int((candidates > NEAREST).sum())


def near_duplicates(
    read: Callable[[int], np.ndarray], count: int, threshold: float = THRESHOLD
) -> list[Pair]:
    """Return the pairs whose grey thumbnails of 64 px correlate above `threshold`.

    `read(i)` returns (H, W, 3) uint8.
    """
    thumbnails = Thumbnails(count)
    for index in range(count):
        thumbnails.add(index, read(index))
    return thumbnails.pairs(threshold)[0]


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """Return the grey thumbnail (t * t,) with mean 0 and norm 1; zeros for a constant image."""
    return _unit(_grey(image, side).ravel())


def _grey(image: np.ndarray, side: int) -> np.ndarray:
    # squashed to a square: a copy in another aspect ratio is found too
    grey = Image.fromarray(image).convert("L").resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(grey)


def _unit(grey: np.ndarray) -> np.ndarray:
    values = grey.astype(np.float32)
    values -= values.mean()
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 1e-3 else np.zeros_like(values)


def merged_groups(groups: list[str], pairs: list[Pair]) -> list[str]:
    """Return `groups` with those of a pair made one; a merged group is named after its first."""
    names, numbers = np.unique(groups, return_inverse=True)
    edges = [(numbers[pair.a], numbers[pair.b]) for pair in pairs]
    rows, columns = np.array(edges, int).reshape(-1, 2).T
    # connected, not only paired: a copy of a copy belongs to the same group
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), (len(names), len(names)))
    _, parts = connected_components(graph, directed=False)
    first = {int(part): str(names[i]) for i, part in reversed(list(enumerate(parts)))}
    return [first[int(parts[number])] for number in numbers]
