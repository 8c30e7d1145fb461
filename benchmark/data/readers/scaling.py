"""Intensities of any range become bytes."""

from __future__ import annotations

import numpy as np


def to_uint8(
    values: np.ndarray,
    window: tuple[float, float] | None = None,
    counted: np.ndarray | None = None,
) -> np.ndarray:
    """Return `values` scaled so that the ends of `window` become 0 and 255.

    Without a window these are their 0.5 and 99.5 percentiles, of those in `counted` (a mask of the
    same shape) where that is given.
    """
    if window is None:
        # percentiles: one hot pixel or a burnt-in label would make all others black
        chosen = values if counted is None or not counted.any() else values[counted]
        low, high = np.percentile(chosen, [0.5, 99.5])
    else:
        low, high = window
    # an image without contrast is black, not a division by zero
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)
