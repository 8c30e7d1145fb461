"""`drive`: retinal vessels; pixels outside the camera's field of view are ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
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


# As released, masks are GIF and images TIFF; copies are PNG throughout.
ENDINGS = (".gif", ".png", ".tif")


def rows(download: layout.Download) -> list[Row]:
    """Return both official parts; `21_training.tif` belongs to `21_manual1.gif`."""
    training = download.folder("training/images/*.tif", "training/images/*.png")
    test = download.find_folder("test/images/*.tif", "test/images/*.png")
    if test is None or not (test.parent / "1st_manual").is_dir():
        # what the publisher serves today has no truth for its test images
        download.notes.append("the test images have no truth: the 20 training images are split")
        return _part(download, training, "train", "")
    return _part(download, training, "train", "train") + _part(download, test, "test", "test")


def _part(download: layout.Download, folder: Path, name: str, split: str) -> list[Row]:
    truth = download.sibling(folder, "1st_manual")
    # `21_training.tif` and `21_manual1.gif` share their number only
    manual = {path.stem.partition("_")[0]: path for path in download.files(truth, *ENDINGS)}
    found = []
    for image in download.files(folder, ".tif", ".png"):
        number = image.stem.partition("_")[0]
        if number not in manual:
            raise InputError(f"{str(image)!r} has no vessels in {str(truth)!r}")
        _field(image)  # absent, it is an error now and not in the middle of training
        found.append(Row(f"{name}/{number}", image, mask=manual[number], split=split))
    return found


def _field(image: Path) -> Path:
    """Return the picture of the camera's field of view; without it dark corners would count."""
    folder, number = image.parent.parent / "mask", image.stem.partition("_")[0]
    found = sorted(p for e in ENDINGS for p in folder.glob(f"{number}_*{e}"))
    if not found:
        raise InputError(f"there is no field of view of {str(image)!r} in {str(folder)!r}")
    return found[0]


def read_mask(row: Row) -> np.ndarray:
    """Return 1 on vessels, IGNORE outside the field of view."""
    assert row.mask is not None
    # GIF has palettes: read as pictures, black is black whatever its index
    vessels = read_rgb(row.mask)[..., 0] > 127
    seen = read_rgb(_field(row.image))[..., 0] > 127
    return np.where(seen, vessels, IGNORE).astype(np.uint8)


layout.add(CARD, rows, Reading(read_image, read_mask))
