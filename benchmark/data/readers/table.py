"""From rows of a table to a checked `Dataset`: shared by manifests, folders and archives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.core.registry import InputError
from benchmark.core.spelling import CONTROL, check_spelled_alike, clean, whole_number
from benchmark.data.base import Card, Dataset, many
from benchmark.data.readers import strata, volumes
from benchmark.data.readers.declared import OF_IMAGES, PLAIN, Declaration
from benchmark.data.readers.digests import digests, remembered
from benchmark.data.readers.images import Header, header, read_mask, read_rgb

Headers = Mapping[Path, Header]  # of every picture of a set, images and masks
SPLITS = ("train", "val", "test")
MOST_FINDINGS = 62  # of a multi-label set: they are bits of an int64


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
    axis: int = 2  # across which the volume is cut


def check_rows(rows: Sequence[Row], origin: str) -> None:
    """Raise InputError for repeated images, odd names, unknown splits, a group in two splits."""
    if not rows:
        raise InputError(f"{origin} lists no image")
    seen: dict[str, str] = {}
    ids: set[str] = set()
    for row in rows:
        for name in (row.id, row.label, row.group):
            if CONTROL.search(name):  # no record, table or page could name it
                raise InputError(
                    f"{origin}: {name!r} is not UTF-8 or holds control characters; rename that "
                    "file, folder, class or group"
                )
        if os.path.normpath(row.id) in ids:
            raise InputError(f"{origin} lists the image {row.id!r} twice; keep one row")
        ids.add(os.path.normpath(row.id))
        if row.split and row.split not in SPLITS:
            raise InputError(f"{origin}: unknown split {row.split!r}; allowed: {', '.join(SPLITS)}")
        group = row.group or row.id  # an image without a group is one of its own
        if seen.setdefault(group, row.split) != row.split:
            raise InputError(
                f"{origin}: the group {group!r} sits in the splits {seen[group]!r} and "
                f"{row.split!r}; a patient belongs to one split"
            )
    if len({bool(row.split) for row in rows}) == 2:
        raise InputError(f"{origin}: some rows have a split and some have none; fill all or none")


def class_names(labels: Iterable[str], origin: str) -> tuple[tuple[str, ...], bool]:
    """Return (classes, ordinal): integers are grades in numeric order, words are sorted names.

    Raises:
        InputError: fewer than two classes, or names that a typing error could make of one.
    """
    found = sorted(set(labels))
    if len(found) < 2:
        raise InputError(
            f"{origin} has one class only ({', '.join(found)}); at least two are needed"
        )
    check_spelled_alike(found, "classes", origin)
    numbers = {name: number for name in found if (number := whole_number(name)) is not None}
    if len(numbers) == len(found):
        return tuple(sorted(found, key=numbers.__getitem__)), len(found) > 2
    return tuple(found), False


@dataclass(frozen=True)
class Reading:
    """How the files of a set become arrays; a set with a layout of its own changes one of them."""

    image: Callable[[Row], np.ndarray]  # (H, W, 3) uint8
    mask: Callable[[Row], np.ndarray]  # (H, W) uint8
    version: int = 1  # part of the fingerprint: change it with what is made of the files
    declared: Declaration = PLAIN  # what the functions were made with


def read_image(
    row: Row,
    window: volumes.Window | None = None,
    declared: Declaration = PLAIN,
    at_least: int = 0,
) -> np.ndarray:
    """Return the image of a row: a slice of a volume, or a picture (`at_least`: see `read_rgb`)."""
    if row.slice is not None:
        return volumes.read_slice(row.image, row.slice, window, row.axis, declared)
    return read_rgb(row.image, declared, at_least)


def read_classes(row: Row) -> np.ndarray:
    """Return the mask of a row as it is in its file."""
    assert row.mask is not None
    if row.slice is not None:
        return volumes.read_mask_slice(row.mask, row.slice, row.axis)
    return read_mask(row.mask)


def read_foreground(row: Row) -> np.ndarray:
    """Return 1 where a two-valued mask is above the middle: for 0 and 255, and for lossy JPEG."""
    assert row.mask is not None
    values = read_rgb(row.mask)[..., 0]
    if 0 < (most := values.max()) <= 127:  # a copy with classes 0 and 1 would have no foreground
        raise InputError(
            f"the mask {str(row.mask)!r} holds 0 to {most}; 0 and 255 are expected: get the "
            "original file"
        )
    return (values > 127).astype(np.uint8)


AS_IS = Reading(read_image, read_classes)
FOREGROUND = Reading(read_image, read_foreground)


def slices(row: Row, declared: Declaration = PLAIN, axis: int | None = None) -> list[Row]:
    """Return one row per slice of a volume; the group is the row's own, or the volume.

    `axis` is the one to cut across (x, y, z of the canonical order); None: that of the largest
    spacing, z where none stands out.

    Raises:
        InputError: a mask that does not lie on its volume, or a volume without its channels.
    """
    found = volumes.geometry_of_image(row.image, declared)
    if row.mask is not None:
        volumes.check_overlay(row.image, row.mask, declared)
    if axis is None:
        axis = 2 if found.axis is None else found.axis
    group = row.group or row.id
    return [
        replace(
            row, id=f"{row.id}/{'xyz'[axis]}{k:03d}", slice=k, volume=row.id, group=group, axis=axis
        )
        for k in range(found.shape[axis])
    ]


def classification(
    rows: Sequence[Row], card: Card, reading: Reading = AS_IS, known: Headers | None = None
) -> Dataset:
    """Return the data set of rows with labels; `card.classes` names them."""
    number = {name: i for i, name in enumerate(card.classes)}
    for row in rows:
        if row.label not in number:
            raise InputError(
                f"the label {row.label!r} of {row.id!r} is no class of {card.name!r}; "
                f"its classes are {', '.join(card.classes)}"
            )
    # numbers follow the card, not the rows: a part without a class keeps the others' numbers
    labels = np.array([number[row.label] for row in rows], np.int64)
    return _dataset(rows, card, labels, reading, known)


def multilabel(
    rows: Sequence[Row], card: Card, reading: Reading = AS_IS, known: Headers | None = None
) -> Dataset:
    """Return the data set of rows whose label joins any number of findings by |; none is allowed.

    Raises:
        InputError: a finding that is no class of the card, or more classes than bits.
    """
    if len(card.classes) > MOST_FINDINGS:
        raise InputError(f"{card.name!r} has {len(card.classes)} findings; {MOST_FINDINGS} is most")
    bit = {name: 1 << k for k, name in enumerate(card.classes)}
    labels = np.zeros(len(rows), np.int64)
    for number, row in enumerate(rows):
        for name in filter(None, map(clean, row.label.split("|"))):
            if name not in bit:
                raise InputError(
                    f"the label {row.label!r} of {row.id!r} holds {name!r}, which is no class of "
                    f"{card.name!r}; its classes are {', '.join(card.classes)}"
                )
            labels[number] |= bit[name]  # a finding that is named twice counts once
    return _dataset(rows, card, labels, reading, known)


def segmentation(
    rows: Sequence[Row],
    card: Card,
    reading: Reading = AS_IS,
    known: Headers | None = None,
    codes: np.ndarray | None = None,
) -> Dataset:
    """Return the data set of rows with masks; `codes` (n,) are their strata where known.

    Raises:
        InputError: a mask of another size than its image, or a value that is no class of the card.
    """
    if known is None:
        known = headers(rows, reading.declared)
        check_sizes(rows, known)
    dataset = _dataset(rows, card, np.zeros(len(rows), np.int64), reading, known)
    if codes is None:
        codes = strata.codes(dataset, lambda index: reading.mask(rows[index]))
    return replace(dataset, labels=codes.astype(np.int64))


def headers(rows: Iterable[Row], declared: Declaration = PLAIN) -> Headers:
    """Return the header of every picture, images and masks; known files are not opened again."""
    paths = {path for row in rows if row.slice is None for path in (row.image, row.mask) if path}
    learned = remembered(paths, f"header 1 {declared.reading}", partial(header, declared=declared))
    return {path: Header(*values) for path, values in learned.items()}


def check_sizes(rows: Iterable[Row], known: Headers) -> None:
    """Raise InputError for a mask that is not of the size of its image.

    Both would be resized to the same square, and the mask would lie beside what it shows. Slices
    of volumes are compared by their affines (`volumes.check_overlay`).
    """
    for row in rows:
        if row.slice is not None or row.mask is None:
            continue
        (w, h), (width, height) = known[row.mask][:2], known[row.image][:2]
        if (w, h) != (width, height):
            raise InputError(
                f"the mask {str(row.mask)!r} is {w}x{h}, its image {width}x{height}; they must be "
                "alike (turned as EXIF says)"
            )


def turned_alone(rows: Iterable[Row], known: Headers) -> tuple[str, ...]:
    """Return a note on images that EXIF turns where nothing shows whether their masks are turned.

    Programs that draw masks may ignore EXIF. Of a quarter turn the sizes tell, unless both sides
    are alike.
    """
    doubted = []
    for row in rows:
        if row.slice is not None or row.mask is None:
            continue
        image, mask = known[row.image], known[row.mask]
        turns = [part.partition("exif ")[2] for part in image.note.split(", ") if "exif" in part]
        silent = turns and "exif" not in mask.note
        if silent and (turns[0] in "234" or image.width == image.height):
            doubted.append(row.id)
    if not doubted:
        return ()
    return (
        f"{many(len(doubted), 'image is', 'images are')} turned by EXIF beside a mask without "
        f"EXIF ({doubted[0]}): look in the montage of `data show` whether it lies on its image",
    )


@dataclass(frozen=True)
class _Plain:
    """Reads images of which nothing is made but what their files say; so fewer pixels will do."""

    rows: Sequence[Row]
    reading: Reading

    def __call__(self, index: int) -> np.ndarray:
        return self.reading.image(self.rows[index])

    def reduced(self, index: int, side: int) -> np.ndarray:
        """Return the image with at least twice `side` pixels a side, decoded faster if it can."""
        return read_image(self.rows[index], None, self.reading.declared, side)


def _dataset(
    rows: Sequence[Row], card: Card, labels: np.ndarray, reading: Reading, known: Headers | None
) -> Dataset:
    known = headers(rows, reading.declared) if known is None else known
    # a set that makes something of its own of the pixels needs all of them
    plain = getattr(reading.image, "func", reading.image) is read_image
    extent = None
    if all(row.slice is not None for row in rows):  # heights in mm are known of volumes only
        found = [volumes.extent_of(row.image, row.axis, reading.declared) for row in rows]
        extent = np.array(found)
    read_as = {key: getattr(reading.declared, key) for key in OF_IMAGES}
    read_as = {key: value for key, value in read_as.items() if value}
    cut = {row.axis for row in rows if row.slice is not None}
    if len(cut) == 1:  # new volumes are cut alike, whatever their own spacing
        read_as.setdefault("slice_axis", list(volumes.AXES)[cut.pop()])
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
        fingerprint=_fingerprint(rows, card, reading, known),
        read_image=_Plain(rows, reading) if plain else lambda index: reading.image(rows[index]),
        read_mask=read,
        files=tuple(row.image for row in rows),
        extent=extent,
        volumes=tuple(row.volume or row.group or row.id for row in rows),
        read_as=read_as,
    )


def _fingerprint(rows: Sequence[Row], card: Card, reading: Reading, pictures: Headers) -> str:
    """Return a hash over classes, and over each row's id, label, group, split and file content.

    What is special about reading a file (a turn by EXIF, another orientation) and what the user
    declared count too, but only where there is something: then the pixels are others.
    """
    # nothing is added where nothing is special: fingerprints of old records stay valid
    digest = hashlib.sha256(repr(card.classes).encode())
    if reading.version > 1:
        digest.update(repr(reading.version).encode())
    if reading.declared.reading:
        digest.update(reading.declared.reading.encode())
    if reading.declared.ordinal is not None:
        digest.update(f"ordinal {card.ordinal}".encode())
    known = digests(path for row in rows for path in (row.image, row.mask) if path is not None)
    # sorted: the order of rows in a table does not make it another data set
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(repr((row.id, row.label, row.group, row.split)).encode())
        for path in (row.image, row.mask):
            if path is None:
                continue
            digest.update(bytes.fromhex(known[path]))
            if row.slice is None:
                note = pictures[path].note
            else:
                note = volumes.geometry(path, reading.declared).note(row.axis)
            if note:
                digest.update(note.encode())
    return digest.hexdigest()[:16]
