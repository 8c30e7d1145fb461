"""`kvasir_seg`: polyps in colonoscopy with masks, a segmentation set of the DVPT paper."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import FOREGROUND, Row

CARD = Card(
    name="kvasir_seg",
    task="segmentation",
    classes=("background", "polyp"),
    modality="colonoscopy",
    licence="research and education (Simula)",
    citation="Jha et al. 2020, MMM (Kvasir-SEG)",
    url="https://datasets.simula.no/kvasir-seg/",
    counts={"images": 1000},
    get="kvasir-seg.zip; below its Kvasir-SEG: images/*.jpg and masks/*.jpg",
)


def rows(root: Path) -> list[Row]:
    """Return all images; the masks are lossy JPEG and are cut at the middle."""
    base = layout.one_of(root, "Kvasir-SEG", ".")
    return [
        layout.existing(Row(image.stem, image, mask=base / "masks" / image.name))
        for image in layout.files(base / "images", "*.jpg")
    ]


layout.add(CARD, rows, FOREGROUND)
