"""`busi` and `busi_masks`: breast ultrasound, three classes, or lesions with masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.core.citation import Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.images import read_rgb
from benchmark.data.readers.table import Reading, Row, read_image

CLASSES = ("benign", "malignant", "normal")
CARD = Card(
    name="busi",
    task="classification",
    classes=CLASSES,
    modality="breast ultrasound",
    licence="CC BY 4.0",
    citations=(
        Citation(
            ("Al-Dhabyani, Walid", "Gomaa, Mohammed", "Khaled, Hussien", "Fahmy, Aly"),
            "Dataset of breast ultrasound images",
            2020,
            "Data in Brief 28:104863",
            "article",
            doi="10.1016/j.dib.2019.104863",
        ),
    ),
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    display="BUSI",
    grouping="unknown",
    group_source="600 patients gave 780 images and no file says whose; many are near-copies",
    counts=dict(zip(CLASSES, (437, 210, 133), strict=True)),
    get="Dataset_BUSI.zip; Dataset_BUSI_with_GT/{benign,malignant,normal}/*.png",
)
MASKS = replace(
    CARD, name="busi_masks", task="segmentation", classes=("background", "lesion"),
    counts={"images": 780}, display="BUSI masks", folder="busi",
)  # fmt: skip


def rows(root: Path) -> list[Row]:
    """Return all images; patients are not given, and many images are near-copies."""
    base = layout.one_of(root, "Dataset_BUSI_with_GT", ".")
    return [
        Row(f"{name}/{image.stem}", image, name, image.with_name(f"{image.stem}_mask.png"))
        for name in CLASSES
        for image in layout.files(base / name, "*.png")
        if "_mask" not in image.stem
    ]


def read_mask(row: Row) -> np.ndarray:
    """Return 1 on lesions; a second lesion lies in `..._mask_1.png`, and so on."""
    assert row.mask is not None
    paths = [layout.existing(row).mask, *sorted(row.mask.parent.glob(f"{row.mask.stem}_*.png"))]
    masks = [read_rgb(path)[..., 0] > 127 for path in paths if path is not None]
    return np.logical_or.reduce(masks).astype(np.uint8)


def _images(root: Path) -> list[Row]:
    return [replace(row, mask=None) for row in rows(root)]


def _masks(root: Path) -> list[Row]:
    return [replace(row, label="") for row in rows(root)]


layout.add(CARD, _images)
layout.add(MASKS, _masks, Reading(read_image, read_mask))
