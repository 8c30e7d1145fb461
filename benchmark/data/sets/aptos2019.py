"""`aptos2019`: five grades of diabetic retinopathy, the labelled part of the Kaggle competition."""

from __future__ import annotations

from pathlib import Path

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


def rows(root: Path) -> list[Row]:
    """Return the images of `train.csv`."""
    lines = layout.table_rows(layout.one_of(root, "train.csv"), ("id_code", "diagnosis"))
    folder = root / "train_images"
    return [
        layout.existing(
            Row(line["id_code"], folder / f"{line['id_code']}.png", _grade(line["diagnosis"]))
        )
        for line in lines
    ]


def _grade(text: str) -> str:
    return layout.GRADES[int(text)] if text in ("0", "1", "2", "3", "4") else text


layout.add(CARD, rows)
