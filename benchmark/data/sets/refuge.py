"""`refuge`: optic disc and cup in fundus photographs (REFUGE), three official parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.images import read_rgb
from benchmark.data.readers.table import Reading, Row, read_image

CARD = Card(
    name="refuge",
    task="segmentation",
    classes=("background", "disc", "cup"),
    modality="colour fundus photographs",
    licence="research use, on registration",
    citations=(
        Citation(
            ("Orlando, José Ignacio", "Fu, Huazhu", "Barbosa Breda, João", OTHERS),
            "REFUGE Challenge: A unified framework for evaluating automated methods for glaucoma "
            "assessment from fundus photographs",
            2020,
            "Medical Image Analysis 59:101570",
            "article",
            arxiv="1910.03667",
            doi="10.1016/j.media.2019.101570",
        ),
    ),
    url="https://refuge.grand-challenge.org/",
    display="REFUGE",
    group_source="the release has no patient numbers",
    counts={"images": 1200},
    unchecked="the names of folders below the archives",
    official="train (400), val (400, another camera) and test (400)",
    get=(
        "Training400, REFUGE-Validation400 and Test400 with their Disc_Cup_Masks, or the copy "
        "{train,val,test}/{Images,gts}"
    ),
)
# Of each part: folders of images and of masks, as released; `*` for Glaucoma and Non-Glaucoma
_RELEASE = {
    "train": (("training400/*glaucoma/*.jpg",), ("*training400/disc_cup_masks/*glaucoma/*.bmp",)),
    "val": (("*validation400/v*.jpg",), ("*validation400-gt/disc_cup_masks/v*.bmp",)),
    "test": (("test400/t*.jpg",), ("*test-gt/disc_cup_masks/*.bmp",)),
}  # fmt: skip


def rows(download: layout.Download) -> list[Row]:
    """Return the images of all parts, of the release or of the copy with three folders."""
    # a common copy has renamed everything
    if download.find_folder("train/images") is not None:
        return [row for part in _RELEASE for row in _copy(download, part)]
    found = []
    for part, (images, masks) in _RELEASE.items():
        # training images are sorted by diagnosis, validation and test images are not
        pictures = download.by_stem(download.all_folders(*images), ".jpg")
        truth = download.by_stem(download.all_folders(*masks), ".bmp")
        for row in layout.paired(pictures, truth, CARD):
            found.append(replace(row, id=f"{part}/{row.id}", split=part))
    return found


def _copy(download: layout.Download, part: str) -> Iterator[Row]:
    folder = download.folder(*(f"{part}/images/*{ending}" for ending in layout.PICTURES))
    masks = download.sibling(folder, "gts", "masks", "mask")
    pictures = download.by_stem([folder], *layout.PICTURES)
    truth = download.by_stem([masks], *layout.PICTURES)
    for row in layout.paired(pictures, truth, CARD):
        yield replace(row, id=f"{part}/{row.id}", split=part)


def read_mask(row: Row) -> np.ndarray:
    """Return 1 on the disc's rim and 2 on the cup; stored are 255 outside, 128 and 0.

    Raises:
        InputError: for other values: a mask that was resized with interpolation or saved lossily.
    """
    assert row.mask is not None
    # read as a picture: the shown value is the code, whatever the form of the BMP
    stored = read_rgb(row.mask)[..., 0]
    unknown = np.setdiff1d(stored, [0, 128, 255])
    if len(unknown):
        raise InputError(
            f"the mask {str(row.mask)!r} holds {unknown[0]}; those of the release hold 0 (cup), "
            "128 (disc) and 255"
        )
    return np.select([stored == 0, stored == 128], [2, 1], 0).astype(np.uint8)


layout.add(CARD, rows, Reading(read_image, read_mask))
