"""DICOM images: stored values to units, the window of the header, MONOCHROME1 the right way up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.registry import InputError

INSTALL = "pip install 'peft-medical-benchmark[volumes]'"


def is_dicom(path: Path) -> bool:
    """Return whether `path` is named like a DICOM file."""
    return path.suffix.lower() in (".dcm", ".dicom")


def read_grey(path: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return (values (H, W) in the file's units, the window that it asks for or None).

    Stored values go through rescale slope and intercept (PS3.3 C.11.1); the window is the first
    linear one (C.11.2.1.2), as (low, high). MONOCHROME1 is negated, so that more is brighter.

    Raises:
        InputError: an unreadable file, several frames, or colour.
    """
    header = _read(path)
    try:
        from pydicom.pixels import apply_modality_lut

        values = apply_modality_lut(header.pixel_array, header).astype(np.float32)
    except Exception as error:  # pydicom and its decoders have no common class
        raise InputError(f"cannot decode {str(path)!r} ({' '.join(str(error).split())})") from None
    if values.ndim != 2:
        raise InputError(f"{str(path)!r} has the shape {values.shape}; one grey frame is needed")
    window = _window(header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        return -values, (-window[1], -window[0]) if window else None
    return values, window


def size_of(path: Path) -> tuple[int, int]:
    """Return (W, H) from the header alone."""
    header = _read(path)
    return int(header.Columns), int(header.Rows)


def _window(header: Any) -> tuple[float, float] | None:
    if "WindowCenter" not in header or "WindowWidth" not in header:
        return None
    center, width = (np.atleast_1d(header[k].value)[0] for k in ("WindowCenter", "WindowWidth"))
    low = float(center) - 0.5 - (float(width) - 1) / 2
    return low, low + max(float(width) - 1, 1e-6)


def _read(path: Path) -> Any:
    try:
        import pydicom
    except ModuleNotFoundError:
        raise InputError(f"reading {path.name} needs pydicom; run {INSTALL}") from None
    try:
        header = pydicom.dcmread(path)
    except FileNotFoundError:
        raise InputError(f"there is no image {str(path)!r}; correct the manifest") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read the image {str(path)!r} ({reason})") from None
    if "Rows" not in header or "Columns" not in header:
        raise InputError(f"{str(path)!r} is a DICOM file without an image")
    return header
