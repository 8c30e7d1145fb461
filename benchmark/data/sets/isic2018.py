"""`isic2018`: ISIC 2018 task 3, HAM10000 for training and the challenge's own test images."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

COLUMNS = ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
CARD = Card(
    name="isic2018",
    task="classification",
    classes=tuple(name.lower() for name in COLUMNS),
    modality="dermoscopy",
    licence="CC BY-NC 4.0",
    citations=(
        Citation(
            ("Codella, Noel", "Rotemberg, Veronica", "Tschandl, Philipp", OTHERS),
            "Skin Lesion Analysis Toward Melanoma Detection 2018: A Challenge Hosted by the "
            "International Skin Imaging Collaboration (ISIC)",
            2019,
            arxiv="1902.03368",
        ),
        Citation(
            ("Tschandl, Philipp", "Rosendahl, Cliff", "Kittler, Harald"),
            "The HAM10000 dataset, a large collection of multi-source dermatoscopic images of "
            "common pigmented skin lesions",
            2018,
            "Scientific Data 5:180161",
            "article",
            doi="10.1038/sdata.2018.161",
        ),
    ),
    url="https://challenge.isic-archive.com/data/#2018",
    display="ISIC 2018",
    grouping="given",
    group_key="lesion (training images)",
    counts={"images": 10015 + 1512},
    official="train (10,015) and test (1,512); the 193 validation images are not used",
    get=(
        "ISIC2018_Task3_{Training,Test}_{Input,GroundTruth}.zip and "
        "ISIC2018_Task3_Training_LesionGroupings.csv, each unpacked in a folder of its name"
    ),
)


def rows(root: Path) -> list[Row]:
    """Return the images of both parts; test images are groups of their own."""
    path = layout.one_of(
        root,
        "ISIC2018_Task3_Training_LesionGroupings.csv",
        "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_LesionGroupings.csv",
    )
    lesions = {
        line["image"]: line["lesion_id"] for line in layout.table_rows(path, ("image", "lesion_id"))
    }
    return _part(root, "Training", "train", lesions) + _part(root, "Test", "test", {})


def _part(root: Path, name: str, part: str, lesions: dict[str, str]) -> list[Row]:
    base = f"ISIC2018_Task3_{name}"
    lines = layout.table_rows(root / f"{base}_GroundTruth" / f"{base}_GroundTruth.csv", COLUMNS)
    found = []
    for line in lines:
        image = line["image"]
        (label,) = (column.lower() for column in COLUMNS if float(line[column]) == 1)
        path = root / f"{base}_Input" / f"{image}.jpg"
        row = Row(image, path, label, group=lesions.get(image, ""), split=part)
        found.append(layout.existing(row))
    return found


layout.add(CARD, rows)
