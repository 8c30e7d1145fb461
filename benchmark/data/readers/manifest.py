"""Your own data in one CSV: `image,label[,group][,split]` or `image,mask[,group][,split]`.

Paths are relative to the CSV. Integer labels (three or more) are taken as ordered grades. In masks
255 is ignored; but where all masks hold 0 and 255 only, 255 is the foreground. A NIfTI volume
(.nii, .nii.gz) is cut into slices along its last axis; they form one group.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from benchmark.core.registry import InputError, unknown
from benchmark.data.base import IGNORE, Card, Dataset, stratum
from benchmark.data.readers import table
from benchmark.data.readers.images import size_of
from benchmark.data.readers.table import Reading, Row
from benchmark.data.readers.volumes import is_volume

COLUMNS = ("image", "label", "mask", "group", "split")


def open_manifest(path: Path) -> Dataset:
    """Return the data set of a manifest; its name is the folder's where the file is manifest.csv.

    Raises:
        InputError: for anything that would make the numbers wrong, before any training.
    """
    rows = _rows(path)
    table.check_rows(rows, str(path))
    name = path.resolve().parent.name if path.stem == "manifest" else path.stem
    if rows[0].mask is None:
        rows = _expanded(rows)
        classes, ordinal = table.class_names((row.label for row in rows), str(path))
        return table.classification(rows, _card(name, "classification", classes, ordinal, rows))
    _check_masks(rows)
    rows = _expanded(rows)
    found = [np.unique(table.read_classes(row)) for row in rows]
    classes, binary = _mask_classes(found, str(path))
    card = _card(name, "segmentation", classes, False, rows)
    codes = np.array([stratum(np.minimum(v, 1) if binary else v) for v in found])
    reading = Reading(table.read_image, _read_binary) if binary else table.AS_IS
    return table.segmentation(rows, card, reading, codes)


def _read_binary(row: Row) -> np.ndarray:
    return np.minimum(table.read_classes(row), 1)


def _expanded(rows: list[Row]) -> list[Row]:
    """Return a row per slice where a row is a volume; the header of every picture is read."""
    parts = [table.slices(row) if is_volume(row.image) else [row] for row in rows]
    for row in rows:
        if not is_volume(row.image):
            size_of(row.image)
    return [row for part in parts for row in part]


def _rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey="")
            lines, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the manifest {str(path)!r}: {error}") from None
    for column in columns:
        if column not in COLUMNS:
            raise unknown(f"column in {str(path)!r}:", column, COLUMNS)
    if "image" not in columns or ("label" in columns) == ("mask" in columns):
        raise InputError(
            f"{str(path)!r} has the columns {columns}; it needs image, and either label or mask"
        )
    return [_row(path.parent, line, str(path)) for line in lines]


def _row(folder: Path, line: dict[str, str], origin: str) -> Row:
    if "" in line:
        raise InputError(f"{origin} has a row with more cells than columns: {line['image']!r}")
    values = {name: (line.get(name) or "").strip() for name in COLUMNS}
    target = values["mask"] or values["label"]
    if not values["image"] or not target:
        raise InputError(f"{origin} has a row without image, label or mask: {values}")
    mask = folder / values["mask"] if values["mask"] else None
    label, group, split = (values[name] for name in ("label", "group", "split"))
    return Row(values["image"], folder / values["image"], label, mask, group, split)


def _check_masks(rows: list[Row]) -> None:
    for row in rows:
        assert row.mask is not None
        if is_volume(row.image):
            continue  # compared when it is cut into slices
        image, mask = size_of(row.image), size_of(row.mask)
        if image != mask:
            raise InputError(
                f"the mask {str(row.mask)!r} is {mask[0]}x{mask[1]}, "
                f"its image {image[0]}x{image[1]}; they must be alike"
            )


def _mask_classes(found: list[np.ndarray], origin: str) -> tuple[tuple[str, ...], bool]:
    """Return (classes, whether 255 is the foreground) from the values of each mask."""
    values = set(np.unique(np.concatenate(found)).tolist())
    if values == {0, IGNORE}:
        return ("background", "foreground"), True
    highest = max(values - {IGNORE}, default=0)
    if highest < 1:
        raise InputError(f"{origin} has one class only: every mask is empty")
    if highest > 31:
        raise InputError(
            f"{origin}: a mask holds the value {highest}; number the classes 0, 1, 2, ... "
            f"({IGNORE} is ignored) and save them without loss"
        )
    return ("background", *(f"class{i}" for i in range(1, highest + 1))), False


def _card(name: str, task: str, classes: tuple[str, ...], ordinal: bool, rows: list[Row]) -> Card:
    grouped = all(row.group for row in rows)
    return Card(
        name=name,
        task=task,  # type: ignore[arg-type]
        classes=classes,
        modality="given by the user",
        licence="given by the user",
        citations=(),
        url="",
        ordinal=ordinal,
        grouping="given" if grouped else "unknown",
        group_key="group" if grouped else "",
        group_source="" if grouped else "the manifest has no group column",
    )
