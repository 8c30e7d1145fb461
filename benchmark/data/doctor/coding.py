"""Traces of lossy coding: the quality of a JPEG, and 8 x 8 blocks in pictures without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

# the first row of the luminance table at quality 50 (ITU-T T.81, annex K.1)
_BASE = np.array([16, 11, 10, 16, 24, 40, 51, 61])


def jpeg_quality(path: Path) -> float | None:
    """Return the quality (1 to 100) that the quantisation table of a JPEG stands for, else None.

    The usual scaling of the standard's table (libjpeg) is turned round; other encoders' tables get
    the nearest value.
    """
    try:
        with Image.open(path) as image:
            tables = getattr(image, "quantization", None)
    except (OSError, ValueError):
        return None
    if not tables:
        return None
    # the median, because libjpeg rounds and clips single entries of the scaled table
    scale = 100 * float(np.median(np.array(tables[0][:8]) / _BASE))
    return 200 / 4 * 100 / scale if scale > 100 else 100 - scale / 2


def blockiness(image: np.ndarray) -> float:
    """Return the mean step between pixels at multiples of 8, over that between the others.

    `image` (H, W, 3) uint8; of rows and columns the smaller one. About 1 for pictures that were
    never coded in blocks, and for those under 128 px, where too few borders are left to tell.
    """
    grey = image.mean(2)
    return min(_ratio(grey), _ratio(grey.T)) if min(grey.shape) >= 128 else 1.0


def _ratio(grey: np.ndarray) -> float:
    steps = np.abs(np.diff(grey, axis=1)).mean(0)
    border = np.arange(1, len(steps) + 1) % 8 == 0
    # a flat image has no steps to compare
    inside = float(steps[~border].mean())
    return float(steps[border].mean()) / inside if inside > 0.1 else 1.0
