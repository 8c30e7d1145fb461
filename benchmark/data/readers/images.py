"""Reading image files into uint8 arrays, with one sentence for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from benchmark.core.registry import InputError
from benchmark.data.readers import dicom


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(f"there is no image {str(path)!r}; correct the manifest") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"cannot read the image {str(path)!r} ({error})") from None
    return image


def read_rgb(path: Path) -> np.ndarray:
    """Return (H, W, 3) uint8.

    Images of more than 8 bits are scaled by their own 0.5 and 99.5 percentiles, DICOM by the window
    of its header where there is one; grey ones are repeated over the channels.
    """
    if dicom.is_dicom(path):
        values, window = dicom.read_grey(path)
        return np.repeat(to_uint8(values, window)[..., None], 3, 2)
    image = _open(path)
    if image.mode.startswith(("I", "F")):
        return np.repeat(to_uint8(np.asarray(image))[..., None], 3, 2)
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """Return (H, W) uint8 of class numbers as they stand in the file (palette indices kept)."""
    image = _open(path)
    if image.mode not in ("L", "P", "1", "I", "I;16"):
        raise InputError(
            f"the mask {str(path)!r} has mode {image.mode}; save one channel of class numbers"
        )
    values = np.asarray(image)
    if values.max(initial=0) > 255:
        raise InputError(f"the mask {str(path)!r} holds {values.max()}; classes end at 254")
    return values.astype(np.uint8)


def size_of(path: Path) -> tuple[int, int]:
    """Return (W, H) from the header alone."""
    if dicom.is_dicom(path):
        return dicom.size_of(path)
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise InputError(f"there is no image {str(path)!r}; correct the manifest") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"cannot read the image {str(path)!r} ({error})") from None


def to_uint8(values: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Return `values` scaled so that the ends of `window` become 0 and 255.

    Without a window these are their 0.5 and 99.5 percentiles.
    """
    low, high = np.percentile(values, [0.5, 99.5]) if window is None else window
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def resize(image: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """Return `image` squashed to a square of this side (bicubic with antialiasing, or nearest)."""
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((size, size), method))
