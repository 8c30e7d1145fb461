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
_PARTS = {
    "train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}


def rows(root: Path) -> list[Row]:
    """Return the images of both official parts."""
    base = layout.one_of(root, "B. Disease Grading", "B.%20Disease%20Grading", ".")
    return [row for part in _PARTS for row in _part(base, part)]


def _part(base: Path, part: str) -> list[Row]:
    folder, labels = _PARTS[part]
    lines = layout.table_rows(
        layout.one_of(base / "2. Groundtruths", labels), ("Image name", "Retinopathy grade")
    )
    images = base / "1. Original Images" / folder
    return [
        layout.existing(
            Row(f"{part}/{name}", images / f"{name}.jpg", layout.GRADES[int(grade)], split=part)
        )
        for line in lines
        if (name := line["Image name"]) and (grade := line["Retinopathy grade"]).isdigit()
    ]


layout.add(CARD, rows)
