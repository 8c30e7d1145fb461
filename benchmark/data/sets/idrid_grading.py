"""`idrid_grading`: five grades of diabetic retinopathy in an Indian population."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CARD = Card(
    name="idrid_grading",
    task="classification",
    classes=layout.GRADES,
    modality="colour fundus photographs",
    licence="CC BY 4.0",
    citations=(
        Citation(
            ("Porwal, Prasanna", "Pachade, Samiksha", "Kamble, Ravi", "Kokare, Manesh", OTHERS),
            "Indian Diabetic Retinopathy Image Dataset (IDRiD): A Database for Diabetic "
            "Retinopathy Screening Research",
            2018,
            "Data 3(3):25",
            "article",
            doi="10.3390/data3030025",
        ),
    ),
    url="https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    display="IDRiD",
    grouping="unknown",
    group_source="the release has no patient numbers",
    ordinal=True,
    counts=dict(zip(layout.GRADES, (168, 25, 168, 93, 62), strict=True)),
    official="train (413) and test (103)",
    get="'B. Disease Grading.zip', unpacked as it is",
)
# The names of the release, letter by letter: training and test images are numbered alike.
_PARTS = {
    "train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}


def rows(download: layout.Download) -> list[Row]:
    """Return the images of both official parts, or of a copy with one table."""
    copy = download.find("idrid_labels.csv")
    if copy is not None:
        return _copy(download, copy)
    truth = download.folder("2. groundtruths/*training labels.csv", "*training labels.csv")
    return [row for part in _PARTS for row in _part(download, truth, part)]


def _part(download: layout.Download, truth: Path, part: str) -> list[Row]:
    folder, labels = _PARTS[part]
    path = truth / labels
    # the tables of the release end with rows and columns of nothing but commas
    lines = layout.table_rows(path, ("Image name", "Retinopathy grade"))
    place = truth.parent / "1. Original Images" / folder
    images = download.by_stem([place], ".jpg")
    return [
        Row(
            f"{part}/{line['Image name']}",
            layout.picked(images, line["Image name"], place),
            layout.grade(line["Retinopathy grade"], path, number),
            split=part,
        )
        for number, line in enumerate(lines, 2)
    ]


def _copy(download: layout.Download, path: Path) -> list[Row]:
    """Return the images of `idrid_labels.csv`: there, test images end with "test"."""
    lines = layout.table_rows(path, ("id_code", "diagnosis"))
    images, place = download.images_of(lines[0]["id_code"], "imagenes")
    tested = any(line["id_code"].endswith("test") for line in lines)
    if not tested:
        download.notes.append("this copy has lost the official parts: it is split by seed")
    return [
        Row(
            line["id_code"],
            layout.picked(images, line["id_code"], place),
            layout.grade(line["diagnosis"], path, number),
            split=("test" if line["id_code"].endswith("test") else "train") if tested else "",
        )
        for number, line in enumerate(lines, 2)
    ]


layout.add(CARD, rows)
