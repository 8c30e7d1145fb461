"""`kvasir_seg`: polyps in colonoscopy with masks, a segmentation set of the DVPT paper."""

from __future__ import annotations

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


def rows(download: layout.Download) -> list[Row]:
    """Return all images; the masks are lossy JPEG and are cut at the middle."""
    folder = download.folder("images/*.jpg", "images/*.png", "image/*.png", "image/*.jpg")
    # images and masks share their names; a PNG copy of either half pairs as well
    images = download.by_stem([folder], *layout.PICTURES)
    masks = download.by_stem([download.sibling(folder, "masks", "mask")], *layout.PICTURES)
    return list(layout.paired(images, masks, CARD))


layout.add(CARD, rows, FOREGROUND)
