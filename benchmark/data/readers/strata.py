"""Which classes each mask shows: read once per data set and kept, because splitting asks for it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import numpy as np

from benchmark.core.files import cache_folder, read_json, write_text
from benchmark.core.registry import InputError
from benchmark.data.base import IGNORE, Dataset, stratum


def codes(dataset: Dataset, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return (n,) int64: the `stratum` of each mask.

    Raises:
        InputError: for a mask value that is neither a class of the card nor IGNORE.
    """
    # the fingerprint covers the masks, so what is kept cannot be out of date
    place = cache_folder() / "strata" / f"{dataset.fingerprint}.json"
    with contextlib.suppress(OSError, ValueError):
        kept = np.array(read_json(place, ""), np.int64)
        if kept.shape == (len(dataset),):
            return kept
    count = len(dataset.card.classes)
    found = np.zeros(len(dataset), np.int64)
    for index, name in enumerate(dataset.ids):
        values = np.unique(read(index))
        # beyond the card: another task's labels, or codes of a copy (0, 127, 255)
        if unknown := [int(v) for v in values if count <= v != IGNORE]:
            raise InputError(
                f"the mask of {name!r} in {dataset.card.name!r} holds {unknown[0]}; its classes "
                f"are 0 to {count - 1} ({IGNORE} is ignored)"
            )
        found[index] = stratum(values)
    with contextlib.suppress(InputError):  # only time is lost where nothing can be kept
        write_text(place, json.dumps(found.tolist()))
    return found
