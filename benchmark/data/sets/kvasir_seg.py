"""`kvasir_seg`: polyps in colonoscopy with masks, a segmentation set of the DVPT paper."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import FOREGROUND, Row

CARD = Card(
    name="kvasir_seg",
    task="segmentation",
    classes=("background", "polyp"),
    modality="colonoscopy",
    licence="research and education (Simula)",
    citations=(
        Citation(
            ("Jha, Debesh", "Smedsrud, Pia H.", "Riegler, Michael A.", "Halvorsen, Pål", OTHERS),
            "Kvasir-SEG: A Segmented Polyp Dataset",
            2020,
            "MultiMedia Modeling (MMM), LNCS 11962:451-462",
            "inproceedings",
            arxiv="1911.07069",
            doi="10.1007/978-3-030-37734-2_37",
        ),
    ),
    url="https://datasets.simula.no/kvasir-seg/",
    display="Kvasir-SEG",
    grouping="unknown",
    group_source="the release has no patient numbers",
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
