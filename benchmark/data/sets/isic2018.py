"""`isic2018`: ISIC 2018 task 3, HAM10000 for training and the challenge's own test images."""

from __future__ import annotations

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

COLUMNS = ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
CLASSES = tuple(name.lower() for name in COLUMNS)
CARD = Card(
    name="isic2018",
    task="classification",
    classes=CLASSES,
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
    group_key="lesion of training images",
    counts=dict(zip(CLASSES, (370, 607, 1316, 159, 1284, 7614, 177), strict=True)),
    official="train (10,015) and test (1,512); the 193 validation images are not used",
    get=(
        "ISIC2018_Task3_{Training,Test}_{Input,GroundTruth}.zip and "
        "ISIC2018_Task3_Training_LesionGroupings.csv, each unpacked in a folder of its name"
    ),
)


def rows(download: layout.Download) -> list[Row]:
    """Return the images of both parts; test images are groups of their own."""
    lesions = _lesions(download)
    training = _part(download, "Training", "train", lesions)
    return training + _part(download, "Test", "test", {})


def _lesions(download: layout.Download) -> dict[str, str]:
    """Return the lesion of each training image, from the challenge's table or that of HAM10000."""
    path = download.find("ISIC2018_Task3_Training_LesionGroupings.csv")
    if path is not None:
        lines = layout.table_rows(path, ("image", "lesion_id"))
        return {line["image"]: line["lesion_id"] for line in lines}
    path = download.find("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
    if path is not None:
        lines = layout.table_rows(path, ("image_id", "lesion_id"))
        return {line["image_id"]: line["lesion_id"] for line in lines}
    download.card = layout.without_groups(
        CARD, "neither the lesion groupings nor HAM10000_metadata is there"
    )
    return {}


def _part(download: layout.Download, name: str, part: str, lesions: dict[str, str]) -> list[Row]:
    base = f"ISIC2018_Task3_{name}"
    path = download.file(f"{base}_GroundTruth.csv")
    lines = layout.table_rows(path, COLUMNS)
    images, folder = download.images_of(lines[0]["image"], f"{base}_Input", f"{base}_Images")
    found = []
    for number, line in enumerate(lines, 2):
        # one-hot as floats; a row of zeros or of two ones is a damaged table
        labels = [column.lower() for column in COLUMNS if line[column] in ("1", "1.0")]
        if len(labels) != 1:
            raise InputError(
                f"{str(path)!r}, row {number}: {line['image']!r} has {len(labels)} classes, not 1"
            )
        image = layout.picked(images, line["image"], folder)
        # test images have no lesion numbers: each stands alone, and in the test part only
        group = lesions.get(line["image"], "")
        if lesions and not group:
            raise InputError(f"{line['image']!r} of {str(path)!r} has no lesion; get the groupings")
        found.append(Row(line["image"], image, labels[0], group=group, split=part))
    return found


layout.add(CARD, rows)
