"""`isic2016`: skin lesions with masks (ISIC 2016, part 1), a segmentation set of the DVPT paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import FOREGROUND, Row

CARD = Card(
    name="isic2016",
    task="segmentation",
    classes=("background", "lesion"),
    modality="dermoscopy",
    licence="CC0",
    citations=(
        Citation(
            ("Gutman, David", "Codella, Noel C. F.", "Celebi, Emre", "Helba, Brian", OTHERS),
            "Skin Lesion Analysis toward Melanoma Detection: A Challenge at the International "
            "Symposium on Biomedical Imaging (ISBI) 2016, hosted by the International Skin Imaging "
            "Collaboration (ISIC)",
            2016,
            arxiv="1605.01397",
        ),
    ),
    url="https://challenge.isic-archive.com/data/#2016",
    display="ISIC 2016",
    grouping="unknown",
    group_source="the release has neither patient nor lesion numbers",
    counts={"images": 1279},
    official="train (900) and test (379)",
    get="ISBI2016_ISIC_Part1_{Training,Test}_{Data,GroundTruth}.zip, each in a folder of its name",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the images of both official parts: the publisher's folders, or train/ and test/."""
    return [
        row
        for part, name in (("train", "training"), ("test", "test"))
        for row in _part(download, part, name)
    ]


def _part(download: layout.Download, part: str, name: str) -> Iterator[Row]:
    base = f"isbi2016_isic_part1_{name}"
    folder = download.folder(f"{base}_data/*.jpg", f"{part}/images/*.jpg", f"{part}/images/*.png")
    masks = download.sibling(folder, f"{base}_groundtruth", "masks", "mask")
    truth = {
        stem.removesuffix("_Segmentation"): path  # the DVPT authors' copy has it renamed
        for stem, path in download.by_stem([masks], ".png").items()
    }
    for row in layout.paired(download.by_stem([folder], *layout.PICTURES), truth, CARD):
        yield replace(row, id=f"{part}/{row.id}", split=part)


layout.add(CARD, rows, FOREGROUND)
