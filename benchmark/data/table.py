"""From rows of a table to a checked `Dataset`: shared by manifests, folders and archives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.base import Card, Dataset, stratum
from benchmark.data.images import read_mask, read_rgb
from benchmark.registry import InputError

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


def classification(rows: Sequence[Row], card: Card) -> Dataset:
    """Return the data set of rows with labels; `card.classes` names them."""
    number = {name: i for i, name in enumerate(card.classes)}
    labels = np.array([number[row.label] for row in rows])
    return _dataset(rows, card, labels, None)


def segmentation(
    rows: Sequence[Row], card: Card, found: Sequence[np.ndarray], *, binary: bool
) -> Dataset:
    """Return the data set of rows with masks, of which `found` holds the values.

    With `binary`, 255 is class 1 and not IGNORE.
    """
    codes = [stratum(np.minimum(values, 1) if binary else values) for values in found]
    return _dataset(rows, card, np.array(codes, np.int64), _MaskReader(rows, binary))


@dataclass(frozen=True)
class _MaskReader:
    rows: Sequence[Row]
    binary: bool

    def __call__(self, index: int) -> np.ndarray:
        path = self.rows[index].mask
        assert path is not None
        return np.minimum(read_mask(path), 1) if self.binary else read_mask(path)


def _dataset(
    rows: Sequence[Row], card: Card, labels: np.ndarray, read_target: _MaskReader | None
) -> Dataset:
    def read_image(index: int) -> np.ndarray:
        return read_rgb(rows[index].image)

    return Dataset(
        card=card,
        ids=tuple(row.id for row in rows),
        labels=labels.astype(np.int64),
        groups=tuple(row.group or row.id for row in rows),
        splits=tuple(row.split for row in rows),
        fingerprint=_fingerprint(rows, card),
        read_image=read_image,
        read_mask=read_target,
    )


def _fingerprint(rows: Sequence[Row], card: Card) -> str:
    """Return a hash over classes, and over each row's id, label, group, split and file content."""
    digest = hashlib.sha256(repr(card.classes).encode())
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(repr((row.id, row.label, row.group, row.split)).encode())
        for path in (row.image, row.mask):
            if path is not None:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
