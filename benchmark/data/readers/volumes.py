"""NIfTI volumes, read slice by slice along their last axis.

Legend: (X, Y, Z) a volume as stored; a slice becomes an image (H, W) = (Y, X).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.registry import InputError
from benchmark.data.readers.images import to_uint8

INSTALL = "pip install 'peft-medical-benchmark[volumes]'"
Window = tuple[float, float]


def is_volume(path: Path) -> bool:
    """Return whether `path` names a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def shape_of(path: Path) -> tuple[int, int, int]:
    """Return (X, Y, Z) from the header."""
    x, y, z = _header(path)[0]
    return x, y, z


def extent_of(path: Path) -> tuple[float, float, float]:
    """Return the height and width of a slice and the distance to the next, in mm (header)."""
    (x, y, _), (step_x, step_y, step_z) = _header(path)
    return y * step_y, x * step_x, step_z


def read_slice(path: Path, index: int, window: Window | None = None) -> np.ndarray:
    """Return slice `index` (H, W, 3) uint8.

    `window` gives the intensities that become 0 and 255 (Hounsfield units in CT); without it they
    are the 0.5 and 99.5 percentiles of the whole volume, because MR units differ between scans.
    """
    return np.repeat(_image(path, window)[:, :, index].T[..., None], 3, 2)


def read_mask_slice(path: Path, index: int) -> np.ndarray:
    """Return the classes (H, W) uint8 of slice `index`."""
    return np.ascontiguousarray(_mask(path)[:, :, index].T)


@functools.lru_cache(maxsize=2)
def _image(path: Path, window: Window | None) -> np.ndarray:
    values = np.asanyarray(_load(path).dataobj, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"the volume {str(path)!r} holds values that are not finite")
    return to_uint8(values, window)


@functools.lru_cache(maxsize=2)
def _mask(path: Path) -> np.ndarray:
    values = np.asanyarray(_load(path).dataobj)
    rounded = np.rint(values)
    if np.abs(values - rounded).max(initial=0) > 1e-3:
        raise InputError(f"the mask {str(path)!r} holds fractions; resample it with nearest")
    if rounded.min(initial=0) < 0 or rounded.max(initial=0) > 255:
        raise InputError(f"the mask {str(path)!r} holds classes outside 0 to 255")
    return rounded.astype(np.uint8)


@functools.lru_cache(maxsize=4096)
def _header(path: Path) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    image = _load(path)
    if len(image.shape) != 3:
        raise InputError(f"the volume {str(path)!r} has the shape {image.shape}; it must be 3-D")
    zooms = tuple(float(v) for v in image.header.get_zooms())
    if not all(0 < v < 1e3 for v in zooms):
        raise InputError(f"the header of {str(path)!r} gives the voxel size {zooms} mm")
    return image.shape, zooms  # type: ignore[return-value]


def _load(path: Path) -> Any:
    """Return the opened image; nibabel reads values when asked for them."""
    try:
        import nibabel
    except ModuleNotFoundError:
        raise InputError(f"reading {path.name} needs nibabel; run {INSTALL}") from None
    if not path.exists():
        raise InputError(f"there is no volume {str(path)!r}; correct the manifest")
    try:
        image: Any = nibabel.load(path)
        np.asanyarray(image.dataobj[..., :1])  # a truncated file fails here, not in training
    except Exception as error:  # nibabel, gzip and zlib have no common class
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read the volume {str(path)!r} ({reason})") from None
    return image
