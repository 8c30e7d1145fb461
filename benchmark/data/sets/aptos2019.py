"""`aptos2019`: five grades of diabetic retinopathy, the labelled part of the Kaggle competition."""

from __future__ import annotations

from benchmark.core.citation import Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CARD = Card(
    name="aptos2019",
    task="classification",
    classes=layout.GRADES,
    modality="colour fundus photographs",
    licence="Kaggle competition rules (research and education)",
    citations=(
        Citation(
            ("Karthik", "Maggie", "Dane, Sohier"),
            "APTOS 2019 Blindness Detection",
            2019,
            "Kaggle, Asia Pacific Tele-Ophthalmology Society",
        ),
    ),
    url="https://www.kaggle.com/c/aptos2019-blindness-detection",
    display="APTOS 2019",
    grouping="unknown",
    group_source="the release has no patient numbers",
    ordinal=True,
    counts=dict(zip(layout.GRADES, (1805, 370, 999, 193, 295), strict=True)),
    get="aptos2019-blindness-detection.zip; its train.csv and train_images/*.png",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the images of `train.csv`, or of the copy `train_1.csv, valid.csv, test.csv`."""
    # `test.csv` of the competition lists images without grades; that of the copy has them
    if download.find("train_1.csv") is None:
        return _table(download, "train.csv", "", "train_images")
    download.notes.append("this copy has parts of its own, which are not official")
    return [
        *_table(download, "train_1.csv", "train", "train_images"),
        *_table(download, "valid.csv", "val", "val_images"),
        *_table(download, "test.csv", "test", "test_images"),
    ]


def _table(download: layout.Download, table: str, part: str, folder: str) -> list[Row]:
    path = download.file(table)
    lines = layout.table_rows(path, ("id_code", "diagnosis"))
    # the copy repeats each folder inside itself and has JPEG beside PNG
    images, place = download.images_of(lines[0]["id_code"], folder)
    return [
        Row(
            line["id_code"],
            layout.picked(images, line["id_code"], place),
            layout.grade(line["diagnosis"], path, number),
            split=part,
        )
        for number, line in enumerate(lines, 2)  # rows as a spreadsheet counts them
    ]


layout.add(CARD, rows)
