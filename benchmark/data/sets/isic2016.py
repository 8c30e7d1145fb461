"""`isic2016`: skin lesions with masks (ISIC 2016, part 1), a segmentation set of the DVPT paper."""

from __future__ import annotations

from pathlib import Path

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


def rows(root: Path) -> list[Row]:
    """Return the images of both official parts."""
    return [
        layout.existing(
            Row(f"{part}/{image.stem}", image, mask=_mask(root, name, image), split=part)
        )
        for part, name in (("train", "Training"), ("test", "Test"))
        for image in layout.files(root / f"ISBI2016_ISIC_Part1_{name}_Data", "*.jpg")
    ]


def _mask(root: Path, name: str, image: Path) -> Path:
    folder = root / f"ISBI2016_ISIC_Part1_{name}_GroundTruth"
    return folder / f"{image.stem}_Segmentation.png"


layout.add(CARD, rows, FOREGROUND)
