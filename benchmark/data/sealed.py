"""An opened data set as one file: who trains reads it, and asks no image file for anything.

Opening a set looks at every file, which takes minutes on a network file system. It is done where a
sweep is planned; the result is kept by its fingerprint, so that it cannot be out of date. Files
are only opened again where pixels are missing in the cache of decoded images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.citation import Citation
from benchmark.core.files import digest, write_text
from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset

VERSION = 2
# fields of a data set that are one text per image
_TEXTS = ("ids", "groups", "splits", "volumes")


def place_of(name: str, fingerprint: str, root: Path) -> Path:
    """Return the file of a set below the cache folder `root`."""
    return root / f"{name}-{fingerprint}-v{VERSION}.index"


def seal(dataset: Dataset, root: Path) -> None:
    """Write an opened set below `root`; what cannot be written is opened again next time."""
    # JSON, not a pickle: a file that others can write must not run code
    text = json.dumps(
        {
            "card": dataclasses.asdict(dataset.card),
            "labels": dataset.labels.tolist(),
            "extent": None if dataset.extent is None else dataset.extent.tolist(),
            "files": [str(path) for path in dataset.files],
            "notes": dataset.notes,
            "read_as": dict(dataset.read_as),
            **{name: getattr(dataset, name) for name in _TEXTS},
        }
    )
    total = digest(text, 64)
    with contextlib.suppress(OSError, InputError):
        write_text(place_of(dataset.card.name, dataset.fingerprint, root), f"{total}\n{text}")


def opened(
    name: str, fingerprint: str, root: Path, reopen: Callable[[], Dataset]
) -> Dataset | None:
    """Return the sealed set of this fingerprint, or None where there is none that is whole.

    `reopen` opens the files themselves, when a pixel is asked for.
    """
    try:
        total, _, text = place_of(name, fingerprint, root).read_text().partition("\n")
        if digest(text, 64) != total:
            return None
        values: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return None
    card = values["card"]
    card["citations"] = tuple(
        Citation(**(one | {"authors": tuple(one["authors"])})) for one in card["citations"]
    )
    card["classes"] = tuple(card["classes"])
    # nothing of the files is asked until a pixel is missing in the cache of decoded images
    pixels = _Pixels(fingerprint, reopen)
    extent = values["extent"]
    texts: dict[str, Any] = {name: tuple(values[name]) for name in _TEXTS}
    return Dataset(
        card=Card(**card),
        labels=np.array(values["labels"], np.int64),
        fingerprint=fingerprint,
        read_image=pixels,
        read_mask=pixels.mask if card["task"] == "segmentation" else None,
        files=tuple(map(Path, values["files"])),
        extent=None if extent is None else np.array(extent),
        notes=tuple(values["notes"]),
        read_as=values["read_as"],
        **texts,
    )


class _Pixels:
    """Opens the files of a sealed set when it must, and then reads from them."""

    def __init__(self, fingerprint: str, reopen: Callable[[], Dataset]) -> None:
        self._fingerprint, self._reopen = fingerprint, reopen
        self._dataset: Dataset | None = None

    def _opened(self) -> Dataset:
        if self._dataset is None:
            dataset = self._reopen()
            # an image that was exchanged since would be trained under the old key
            if dataset.fingerprint != self._fingerprint:
                raise InputError(
                    f"the data of {dataset.card.name!r} changed since the sweep was planned "
                    f"({self._fingerprint} became {dataset.fingerprint}); plan it again with `run`"
                )
            self._dataset = dataset
        return self._dataset

    def __call__(self, index: int) -> np.ndarray:
        return self._opened().read_image(index)

    def reduced(self, index: int, side: int) -> np.ndarray:
        """Return the image, decoded with fewer pixels where its set can."""
        dataset = self._opened()
        reduced = getattr(dataset.read_image, "reduced", None)
        return dataset.read_image(index) if reduced is None else reduced(index, side)

    def mask(self, index: int) -> np.ndarray:
        """Return the mask."""
        read = self._opened().read_mask
        assert read is not None
        return read(index)
