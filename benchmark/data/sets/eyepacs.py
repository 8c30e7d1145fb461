"""`eyepacs`: five grades of diabetic retinopathy (Kaggle 2015); the two eyes form a group."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CARD = Card(
    name="eyepacs",
    task="classification",
    classes=layout.GRADES,
    modality="colour fundus photographs",
    licence="Kaggle competition rules (research and education)",
    citations=(
        Citation(
            ("Dugas, Emma", "Jared", "Jorge", "Cukierski, Will"),
            "Diabetic Retinopathy Detection",
            2015,
            "Kaggle, California Healthcare Foundation",
        ),
    ),
    url="https://www.kaggle.com/c/diabetic-retinopathy-detection",
    ordinal=True,
    display="EyePACS",
    grouping="given",
    group_key="patient (both eyes)",
    counts=dict(zip(layout.GRADES, (25810, 2443, 5292, 873, 708), strict=True)),
    unchecked="the counts of each grade (their sum is the published one)",
    official="none of the 35,126 labelled training images; those of the test part are not read",
    get="trainLabels.csv.zip and train.zip.001 to .005; train/10_left.jpeg",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the images of `trainLabels.csv`: `10_left` and `10_right` are of one patient."""
    path = download.file("trainLabels.csv", "trainLabels_cropped.csv")
    lines = layout.table_rows(path, ("image", "level"))
    # the five pieces of train.zip unpack into one folder, or people leave them in several
    first = Path(lines[0]["image"]).stem
    folders = download.all_folders(*(f"{first}{ending}" for ending in layout.PICTURES))
    names = {Path(line["image"]).stem for line in lines}
    images = download.by_stem(folders, *layout.PICTURES, only=names)
    return [
        Row(
            line["image"],
            layout.picked(images, line["image"], folders[0]),
            layout.grade(line["level"], path, number),
            # both eyes of a person were photographed together and usually share their grade
            group=f"patient{line['image'].partition('_')[0]}",
        )
        for number, line in enumerate(lines, 2)
    ]


layout.add(CARD, rows)
