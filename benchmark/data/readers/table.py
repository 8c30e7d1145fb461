"""From rows of a table to a checked `Dataset`: shared by manifests, folders and archives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset
from benchmark.data.readers import strata, volumes
from benchmark.data.readers.digests import digests
from benchmark.data.readers.images import read_mask, read_rgb

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    """One image: a stable id, its file, its label or mask, its group and its given split."""

    id: str
    image: Path
    label: str = ""
    mask: Path | None = None
    group: str = ""
    split: str = ""
    slice: int | None = None  # of a volume
    volume: str = ""


def check_rows(rows: Sequence[Row], origin: str) -> None:
    """Raise InputError for repeated images, unknown splits, or a group that sits in two splits."""
    if not rows:
        raise InputError(f"{origin} lists no image")
    seen: dict[str, str] = {}
    ids: set[str] = set()
    for row in rows:
        if os.path.normpath(row.id) in ids:
            raise InputError(f"{origin} lists the image {row.id!r} twice; keep one row")
        ids.add(os.path.normpath(row.id))
        if row.split and row.split not in SPLITS:
            raise InputError(f"{origin}: unknown split {row.split!r}; allowed: {', '.join(SPLITS)}")
        group = row.group or row.id
        if seen.setdefault(group, row.split) != row.split:
            raise InputError(
                f"{origin}: the group {group!r} sits in the splits {seen[group]!r} and "
                f"{row.split!r}; a patient belongs to one split"
            )
    if len({bool(row.split) for row in rows}) == 2:
        raise InputError(f"{origin}: some rows have a split and some have none; fill all or none")


def class_names(labels: Iterable[str], origin: str) -> tuple[tuple[str, ...], bool]:
    """Return (classes, ordinal): integers are grades in numeric order, words are sorted names."""
    found = set(labels)
    if len(found) < 2:
        raise InputError(
            f"{origin} has one class only ({', '.join(found)}); at least two are needed"
        )
    if all(name.lstrip("-").isdigit() for name in found):
        return tuple(sorted(found, key=int)), len(found) > 2
    return tuple(sorted(found)), False


@dataclass(frozen=True)
class Reading:
    """How the files of a set become arrays; a set with a layout of its own changes one of them."""

    image: Callable[[Row], np.ndarray]  # (H, W, 3) uint8
    mask: Callable[[Row], np.ndarray]  # (H, W) uint8
    version: int = 1  # part of the fingerprint: change it with what is made of the files


def read_image(row: Row, window: volumes.Window | None = None) -> np.ndarray:
    """Return the image of a row: a slice of a volume, or a picture."""
    if row.slice is not None:
        return volumes.read_slice(row.image, row.slice, window)
    return read_rgb(row.image)


def read_classes(row: Row) -> np.ndarray:
    """Return the mask of a row as it stands in its file."""
    assert row.mask is not None
    if row.slice is not None:
        return volumes.read_mask_slice(row.mask, row.slice)
    return read_mask(row.mask)


def read_foreground(row: Row) -> np.ndarray:
    """Return 1 where a two-valued mask is above the middle: for 0 and 255, and for lossy JPEG."""
    assert row.mask is not None
    return (read_rgb(row.mask)[..., 0] > 127).astype(np.uint8)


AS_IS = Reading(read_image, read_classes)
FOREGROUND = Reading(read_image, read_foreground)


def slices(row: Row) -> list[Row]:
    """Return one row per slice of a volume; the group is the row's own, or the volume."""
    _, _, count = volumes.shape_of(row.image)
    if row.mask is not None and volumes.shape_of(row.mask) != volumes.shape_of(row.image):
        raise InputError(
            f"the mask {str(row.mask)!r} is {volumes.shape_of(row.mask)}, "
            f"its volume {volumes.shape_of(row.image)}; they must be alike"
        )
    group = row.group or row.id
    return [
        replace(row, id=f"{row.id}/z{z:03d}", slice=z, volume=row.id, group=group)
        for z in range(count)
    ]


def classification(rows: Sequence[Row], card: Card, reading: Reading = AS_IS) -> Dataset:
    """Return the data set of rows with labels; `card.classes` names them."""
    number = {name: i for i, name in enumerate(card.classes)}
    for row in rows:
        if row.label not in number:
            raise InputError(
                f"the label {row.label!r} of {row.id!r} is no class of {card.name!r}; "
                f"its classes are {', '.join(card.classes)}"
            )
    labels = np.array([number[row.label] for row in rows], np.int64)
    return _dataset(rows, card, labels, reading)


def segmentation(
    rows: Sequence[Row], card: Card, reading: Reading = AS_IS, codes: np.ndarray | None = None
) -> Dataset:
    """Return the data set of rows with masks; `codes` (n,) are their strata where known.

    Raises:
        InputError: for a mask value that is no class of the card.
    """
    dataset = _dataset(rows, card, np.zeros(len(rows), np.int64), reading)
    if codes is None:
        codes = strata.codes(dataset, lambda index: reading.mask(rows[index]))
    return replace(dataset, labels=codes.astype(np.int64))


def _dataset(rows: Sequence[Row], card: Card, labels: np.ndarray, reading: Reading) -> Dataset:
    read: Callable[[int], np.ndarray] | None = None
    if card.task == "segmentation":

        def read(index: int) -> np.ndarray:
            return reading.mask(rows[index])

    return Dataset(
        card=card,
        ids=tuple(row.id for row in rows),
        labels=labels,
        groups=tuple(row.group or row.id for row in rows),
        splits=tuple(row.split for row in rows),
        fingerprint=_fingerprint(rows, card, reading.version),
        read_image=lambda index: reading.image(rows[index]),
        read_mask=read,
        files=tuple(row.image for row in rows),
        extent=_extent(rows),
        volumes=tuple(row.volume or row.group or row.id for row in rows),
    )


def _extent(rows: Sequence[Row]) -> np.ndarray | None:
    if any(row.slice is None for row in rows):
        return None
    return np.array([volumes.extent_of(row.image) for row in rows])


def _fingerprint(rows: Sequence[Row], card: Card, version: int) -> str:
    """Return a hash over classes, and over each row's id, label, group, split and file content."""
    digest = hashlib.sha256(repr(card.classes).encode())
    if version > 1:
        digest.update(repr(version).encode())
    known = digests(path for row in rows for path in (row.image, row.mask) if path is not None)
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(repr((row.id, row.label, row.group, row.split)).encode())
        for path in (row.image, row.mask):
            if path is not None:
                digest.update(bytes.fromhex(known[path]))
    return digest.hexdigest()[:16]
