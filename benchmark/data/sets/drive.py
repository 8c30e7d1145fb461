"""`drive`: retinal vessels; pixels outside the camera's field of view are ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import IGNORE, Card
from benchmark.data.readers import layout
from benchmark.data.readers.images import read_rgb
from benchmark.data.readers.table import Reading, Row, read_image

CARD = Card(
    name="drive",
    task="segmentation",
    classes=("background", "vessel"),
    modality="colour fundus photographs",
    licence="research and education, on registration",
    citations=(
        Citation(
            ("Staal, Joes", "Abràmoff, Michael D.", "Niemeijer, Meindert", OTHERS),
            "Ridge-based vessel segmentation in color images of the retina",
            2004,
            "IEEE Transactions on Medical Imaging 23(4):501-509",
            "article",
            doi="10.1109/TMI.2004.825627",
        ),
    ),
    url="https://drive.grand-challenge.org/",
    display="DRIVE",
    grouping="unknown",
    group_source="the release has no patient numbers",
    counts={"images": 40},
    official="train (20) and test (20, first observer)",
    get="training/ and test/ with images, 1st_manual and mask",
)


def rows(root: Path) -> list[Row]:
    """Return both official parts; `21_training.tif` belongs to `21_manual1.gif`."""
    base = layout.one_of(root, "DRIVE", ".")
    return [
        layout.existing(Row(f"{part}/{_number(image)}", image, mask=_manual(image), split=part))
        for folder, part in (("training", "train"), ("test", "test"))
        for image in layout.files(base / folder / "images", "*.tif")
    ]


def _number(image: Path) -> str:
    return image.stem.partition("_")[0]


def _manual(image: Path) -> Path:
    return image.parent.parent / "1st_manual" / f"{_number(image)}_manual1.gif"


def read_mask(row: Row) -> np.ndarray:
    """Return 1 on vessels, IGNORE outside the field of view."""
    assert row.mask is not None
    vessels = read_rgb(row.mask)[..., 0] > 127
    field = row.image.parent.parent / "mask" / f"{row.image.stem}_mask.gif"
    seen = read_rgb(field)[..., 0] > 127
    return np.where(seen, vessels, IGNORE).astype(np.uint8)


layout.add(CARD, rows, Reading(read_image, read_mask))
