"""`busi` and `busi_masks`: breast ultrasound, three classes, or lesions with masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
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


def rows(download: layout.Download) -> list[Row]:
    """Return all images with their masks; patients are not given, and many are near-copies."""
    base = download.find_folder("benign")
    if base is None:
        return _flat(download)
    found = []
    for name in CLASSES:
        inner = download.find_folder(f"{name}/images/*.png")
        folder = inner or base / name
        masks = download.sibling(inner, "masks", "mask") if inner else folder
        found += [
            Row(f"{name}/{image.stem}", image, name, _mask(image, masks))
            for image in download.files(folder, ".png")
            if "_mask" not in image.stem
        ]
    return found


def _flat(download: layout.Download) -> list[Row]:
    """Return the rows of a copy with all images in one folder; their names start with the class."""
    folder = download.folder("images/benign*.png")
    masks = download.sibling(folder, "masks", "mask")
    found = []
    for image in download.files(folder, ".png"):
        name = next((name for name in CLASSES if image.stem.startswith(name)), None)
        if name is None:
            raise InputError(f"the name of {str(image)!r} starts with no class of {CLASSES}")
        found.append(Row(f"{name}/{image.stem}", image, name, _mask(image, masks)))
    return found


def _mask(image: Path, folder: Path) -> Path:
    named = folder / f"{image.stem}_mask.png"
    return named if folder == image.parent or named.exists() else folder / image.name


def read_mask(row: Row) -> np.ndarray:
    """Return 1 on lesions; a second lesion is in `..._mask_1.png`, and so on."""
    assert row.mask is not None
    paths = [layout.existing(row).mask, *sorted(row.mask.parent.glob(f"{row.mask.stem}_*.png"))]
    masks = [read_rgb(path)[..., 0] > 127 for path in paths if path is not None]
    return np.logical_or.reduce(masks).astype(np.uint8)


layout.add(CARD, lambda download: [replace(row, mask=None) for row in rows(download)])
layout.add(
    MASKS,
    lambda download: [replace(row, label="") for row in rows(download)],
    Reading(read_image, read_mask),
)
