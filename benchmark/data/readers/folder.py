"""A class-per-folder tree: `CLASS/*.png`, or `train|val|test/CLASS/*.png`."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset
from benchmark.data.readers import table
from benchmark.data.readers.images import size_of
from benchmark.data.readers.table import SPLITS, Row

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm"}


def open_folder(path: Path) -> Dataset:
    """Return the data set of a tree; its name is the folder's, its classes are the subfolders'."""
    tops = sorted(child.name for child in path.iterdir() if child.is_dir())
    given = [name for name in tops if name in SPLITS]
    if given and len(given) < len(tops):
        raise InputError(
            f"{str(path)!r} mixes split folders {given} with others; use either splits or classes"
        )
    rows = [row for top in given or [""] for row in _rows(path, top)]
    table.check_rows(rows, str(path))
    for row in rows:
        size_of(row.image)
    classes, ordinal = table.class_names((row.label for row in rows), str(path))
    card = Card(
        name=path.resolve().name,
        task="classification",
        classes=classes,
        modality="given by the user",
        licence="given by the user",
        citations=(),
        url="",
        ordinal=ordinal,
        group_source="a folder of classes names no patients",
    )
    return table.classification(rows, card)


def _rows(root: Path, split: str) -> list[Row]:
    base = root / split if split else root
    return [
        Row(image.relative_to(root).as_posix(), image, label=folder.name, split=split)
        for folder in sorted(base.iterdir())
        if folder.is_dir()
        for image in sorted(folder.rglob("*"))
        if image.suffix.lower() in SUFFIXES
    ]
