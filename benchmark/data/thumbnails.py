"""Small pictures of a few images of a data set, for the page of a report."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence

from PIL import Image

from benchmark.core.registry import InputError
from benchmark.data import Dataset, open_dataset

SIDE = 96  # pixels: 1 to 3 kB each
MOST = 200  # of one data set, the first of the ids


def thumbnails(spec: str, fingerprint: str, ids: Sequence[str]) -> Mapping[str, bytes]:
    """Return JPEGs of the first images by id, whole and at most `SIDE` wide and high.

    Raises:
        InputError: where the data set cannot be opened, or holds other images than were scored.
    """
    dataset = _opened(spec)
    if dataset.fingerprint != fingerprint:
        raise InputError(
            f"the images of {spec!r} are not those of the records ({dataset.fingerprint}, not "
            f"{fingerprint}); name the folder that was trained on, or leave out --source"
        )
    places = {name: place for place, name in enumerate(dataset.ids)}
    found = {}
    for name in [name for name in ids if name in places][:MOST]:
        picture = Image.fromarray(dataset.read_image(places[name]))
        picture.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=65)
        found[name] = stream.getvalue()
    return found


@functools.cache
def _opened(spec: str) -> Dataset:
    """Return a data set, opened once for all columns of a report."""
    return open_dataset(spec)
