"""`isic2018_lesions`: skin lesions with masks (ISIC 2018 task 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import FOREGROUND, Row
from benchmark.data.sets import isic2018

CARD = Card(
    name="isic2018_lesions",
    task="segmentation",
    classes=("background", "lesion"),
    modality="dermoscopy",
    licence="terms of the ISIC challenge page",
    citations=isic2018.CARD.citations,
    url="https://challenge.isic-archive.com/data/#2018",
    display="ISIC 2018 lesions",
    group_source="the release of task 1 has neither patient nor lesion numbers",
    unchecked="the licence",
    counts={"images": 2594 + 100 + 1000},
    official="train (2,594), val (100) and test (1,000)",
    get=(
        "ISIC2018_Task1-2_{Training,Validation,Test}_Input.zip and "
        "ISIC2018_Task1_{Training,Validation,Test}_GroundTruth.zip"
    ),
)


def rows(download: layout.Download) -> list[Row]:
    """Return the images of the parts; the validation part came later and may be absent."""
    # the challenge published the validation truth later; many have training and test only
    found = [*_part(download, "train", "training"), *_part(download, "test", "test")]
    if download.find_folder("isic2018_task1-2_validation_input/*.jpg") is not None:
        found += _part(download, "val", "validation")
    return found


def _part(download: layout.Download, part: str, name: str) -> Iterator[Row]:
    folder = download.folder(f"isic2018_task1-2_{name}_input/*.jpg", f"{part}/images/*.jpg")
    masks = download.sibling(folder, f"isic2018_task1_{name}_groundtruth", "masks", "mask")
    # ISIC_0000000.jpg and ISIC_0000000_segmentation.png
    truth = {
        stem.removesuffix("_segmentation"): path
        for stem, path in download.by_stem([masks], ".png").items()
    }
    for row in layout.paired(download.by_stem([folder], ".jpg"), truth, CARD):
        yield replace(row, split=part)


layout.add(CARD, rows, FOREGROUND)
