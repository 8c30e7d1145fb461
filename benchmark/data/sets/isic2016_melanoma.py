"""`isic2016_melanoma`: benign or malignant skin lesions (ISIC 2016, part 3)."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmark.core.files import text_stream
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row
from benchmark.data.sets import isic2016

CLASSES = ("benign", "malignant")
CARD = Card(
    name="isic2016_melanoma",
    task="classification",
    classes=CLASSES,
    modality="dermoscopy",
    licence="CC0",
    citations=isic2016.CARD.citations,
    url="https://challenge.isic-archive.com/data/#2016",
    display="ISIC 2016 melanoma",
    group_source="the release has neither patient nor lesion numbers",
    counts={"images": 1279},
    official="train (900) and test (379)",
    get="ISBI2016_ISIC_Part3_{Training,Test}_Data.zip and ..._GroundTruth.csv",
)
# the training table has words, that of the test numbers
_LABELS = {"benign": "benign", "malignant": "malignant", "0": "benign", "1": "malignant"}


def rows(download: layout.Download) -> list[Row]:
    """Return the images of both official parts; their tables have no header."""
    return [
        row
        for part, name in (("train", "Training"), ("test", "Test"))
        for row in _part(download, part, name)
    ]


def _part(download: layout.Download, part: str, name: str) -> list[Row]:
    path = download.file(f"ISBI2016_ISIC_Part3_{name}_GroundTruth.csv")
    folder = download.folder(f"isbi2016_isic_part3_{name.lower()}_data/*.jpg")
    images = download.by_stem([folder], ".jpg")
    return [
        # ids keep the part, as those of `isic2016`
        Row(f"{part}/{image}", layout.picked(images, image, folder), label, split=part)
        for image, label in _lines(path)
    ]


def _lines(path: Path) -> list[tuple[str, str]]:
    try:
        with text_stream(path) as stream:
            lines = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r} ({error})") from None
    found = []
    # no header: the first line is an image, and must not be lost as one
    for number, line in enumerate(lines, 1):
        if not any(cell.strip() for cell in line):
            continue
        label = _LABELS.get(line[1].strip().removesuffix(".0")) if len(line) == 2 else None
        if label is None:
            raise InputError(
                f"{str(path)!r}, row {number}: {','.join(line)!r} is not an image and benign, "
                "malignant, 0 or 1"
            )
        found.append((line[0].strip(), label))
    return found


layout.add(CARD, rows)
