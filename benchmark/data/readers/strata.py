"""Which classes each mask shows: read once per data set and kept, because splitting asks for it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import numpy as np

from benchmark.core.files import cache_folder, write_text
from benchmark.core.registry import InputError
from benchmark.data.base import IGNORE, Dataset, stratum


def codes(dataset: Dataset, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return (n,) int64: the `stratum` of each mask.

    Raises:
        InputError: for a mask value that is neither a class of the card nor IGNORE.
    """
    place = cache_folder() / "strata" / f"{dataset.fingerprint}.json"
    with contextlib.suppress(OSError, ValueError):
        kept = np.array(json.loads(place.read_text()), np.int64)
        if kept.shape == (len(dataset),):
            return kept
    found = np.array([_code(dataset, i, read(i)) for i in range(len(dataset))], np.int64)
    with contextlib.suppress(InputError):  # only time is lost where nothing can be kept
        write_text(place, json.dumps(found.tolist()))
    return found


def _code(dataset: Dataset, index: int, mask: np.ndarray) -> int:
    values = np.unique(mask)
    count = len(dataset.card.classes)
    strange = [int(v) for v in values if count <= v != IGNORE]
    if strange:
        raise InputError(
            f"the mask of {dataset.ids[index]!r} in {dataset.card.name!r} holds {strange[0]}; its "
            f"classes are 0 to {count - 1} ({IGNORE} is ignored)"
        )
    return stratum(values)
