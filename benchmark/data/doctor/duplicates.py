"""Near-duplicate images: thumbnails that correlate, in blocks, so that memory stays bounded.

Legend: n images, t the side of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

THRESHOLD = 0.95  # correlation of the large thumbnails
SMALL, LARGE = 32, 64  # sides: the small ones find candidates, the large ones decide
SLACK = 0.03  # small thumbnails correlate more, hardly ever less, than large ones
BLOCK = 2048


@dataclass(frozen=True)
class Pair:
    """Rows `a` < `b` of two images and the correlation of their thumbnails."""

    a: int
    b: int
    correlation: float


def near_duplicates(
    read: Callable[[int], np.ndarray], count: int, threshold: float = THRESHOLD
) -> list[Pair]:
    """Return all pairs whose grey thumbnails of 64 px correlate above `threshold`.

    `read(i)` returns (H, W, 3) uint8. Constant images are no copies of anything.
    """
    small = np.zeros((count, SMALL * SMALL), np.float32)
    for index in range(count):
        small[index] = thumbnail(read(index), SMALL)
    candidates = list(_above(small, threshold - SLACK))
    needed = sorted({index for pair in candidates for index in pair})
    large = {index: thumbnail(read(index), LARGE) for index in needed}
    pairs = [Pair(a, b, float(large[a] @ large[b])) for a, b in candidates]
    return sorted((p for p in pairs if p.correlation > threshold), key=lambda p: (p.a, p.b))


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """Return the grey thumbnail (t * t,) with mean 0 and norm 1; zeros for a constant image."""
    grey = Image.fromarray(image).convert("L").resize((side, side), Image.Resampling.BICUBIC)
    values = np.asarray(grey, np.float32).ravel()
    values -= values.mean()
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 1e-3 else np.zeros_like(values)


def _above(vectors: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    for start in range(0, len(vectors), BLOCK):
        for other in range(start, len(vectors), BLOCK):
            product = vectors[start : start + BLOCK] @ vectors[other : other + BLOCK].T
            for a, b in np.argwhere(product > threshold):
                if start + a < other + b:
                    yield int(start + a), int(other + b)


def merged_groups(groups: list[str], pairs: list[Pair]) -> list[str]:
    """Return `groups` with those of a pair made one; a merged group is named after its first."""
    names, numbers = np.unique(groups, return_inverse=True)
    edges = [(numbers[pair.a], numbers[pair.b]) for pair in pairs]
    rows, columns = np.array(edges, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), (len(names), len(names)))
    _, parts = connected_components(graph, directed=False)
    first = {int(part): str(names[i]) for i, part in reversed(list(enumerate(parts)))}
    return [first[int(parts[number])] for number in numbers]
