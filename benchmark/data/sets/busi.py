"""`busi` and `busi_masks`: breast ultrasound, three classes, or lesions with masks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.images import read_rgb
from benchmark.data.readers.table import Reading, Row, read_image

# The folders of the release; masks of normal images are empty.
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
    # 600 patients: Data in Brief 28:104863; near-copies: `data check`, README
    grouping="unknown",
    group_source="600 patients gave 780 images and no file says whose; many are near-copies",
    counts=dict(zip(CLASSES, (437, 210, 133), strict=True)),
    get="Dataset_BUSI.zip; Dataset_BUSI_with_GT/{benign,malignant,normal}/*.png",
)
MASKS = replace(
    CARD, name="busi_masks", task="segmentation", classes=("background", "lesion"),
    counts={"images": 780}, display="BUSI masks", folder="busi",
)  # fmt: skip


def rows(masked: bool, download: layout.Download) -> list[Row]:
    """Return all images with their class, or with their masks.

    Patients are not given, and many images are near-copies.
    """
    # `Dataset_BUSI_with_GT/benign` as released; copies sort CLASS/images and CLASS/masks, or have
    # one folder of each kind
    base = download.find_folder("benign")
    if base is None:
        folder = download.folder("images/benign*.png")
        folders = {folder: download.files(folder, ".png")}
    else:
        folders = {}
        for name in CLASSES:
            inner = download.find_folder(f"{name}/images/*.png")
            folder = inner or download.sibling(base / name, name)
            # masks lie beside their images in the release
            images = [p for p in download.files(folder, ".png") if "_mask" not in p.stem]
            folders[folder] = images
    found = []
    for folder, images in folders.items():
        beside = folder
        if masked and folder.name.lower() == "images":
            beside = download.sibling(folder, "masks", "mask")
        for image in images:
            # `benign (1).png`, in a folder of its class or of all
            places = (folder.name.lower(), folder.parent.name.lower(), image.stem.lower())
            kind = next((c for place in places for c in CLASSES if place.startswith(c)), None)
            if kind is None:
                raise InputError(f"the name of {str(image)!r} starts with no class of {CLASSES}")
            row = Row(f"{kind}/{image.stem}", image, "" if masked else kind)
            if masked:
                named = beside / f"{image.stem}_mask.png"
                same = beside / image.name  # of copies that keep the name in another folder
                row = replace(row, mask=named if beside == folder or named.exists() else same)
            found.append(row)
    return found


def read_mask(row: Row) -> np.ndarray:
    """Return 1 on lesions; a second lesion is in `..._mask_1.png`, and so on."""
    assert row.mask is not None
    paths = [layout.existing(row).mask, *sorted(row.mask.parent.glob(f"{row.mask.stem}_*.png"))]
    # read as pictures, whatever their number of channels and bits
    masks = [read_rgb(path)[..., 0] > 127 for path in paths if path is not None]
    if len({mask.shape for mask in masks}) > 1:
        raise InputError(f"the masks {', '.join(map(repr, map(str, paths)))} differ in size")
    return np.logical_or.reduce(masks).astype(np.uint8)


layout.add(CARD, partial(rows, False))
layout.add(MASKS, partial(rows, True), Reading(read_image, read_mask))
