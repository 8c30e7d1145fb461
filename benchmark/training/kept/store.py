"""Features on the disk: whole or not at all, and never believed when they are damaged.

Legend: n images, v what is kept of each (itself and its views), F values of one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmark.core.files import read_json, written_folder
from benchmark.data.cache import checksum

Shapes = list[list[int]]


@dataclass(frozen=True)
class Features:
    """`values` (v n, F) float32; `shapes` of the tensors that F is made of."""

    values: np.ndarray
    shapes: Shapes


def parts(values: Tensor, shapes: Shapes) -> list[Tensor]:
    """Return the tensors (B, *shape) that the rows of `values` (B, F) are made of."""
    pieces = values.split([int(np.prod(shape)) for shape in shapes], 1)
    return [piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes, strict=True)]


def write(folder: Path, features: Features) -> None:
    """Write features whole or not at all; what another process has written by now stays.

    It may be reading them already: what is mapped into memory must not be taken away.
    """
    count = len(features.values)
    with written_folder(folder, lambda path: read(path, count) is not None) as temporary:
        np.save(temporary / "values.npy", features.values)
        meta = {"shapes": features.shapes, "checksum": checksum(temporary / "values.npy")}
        (temporary / "meta.json").write_text(json.dumps(meta))


def read(folder: Path, count: int) -> Features | None:
    """Return the features of `count` rows in `folder`; None where any is absent or damaged."""
    try:
        meta: dict[str, Any] = read_json(folder / "meta.json", "")
        if meta["checksum"] != checksum(folder / "values.npy"):
            return None
        values = np.load(folder / "values.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    width = sum(int(np.prod(shape)) for shape in meta["shapes"])
    fits = values.shape == (count, width) and values.dtype == np.float32
    return Features(values, meta["shapes"]) if fits else None
