"""The polyp suite of PraNet: `polyps` trains, five sets of other origin test (`--test-on`).

Counts and folders are those of the paper and its repository (DengPingFan/PraNet).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import FOREGROUND, Row
from benchmark.data.sets import cvc_clinicdb, kvasir_seg

SUITE = Citation(
    ("Fan, Deng-Ping", "Ji, Ge-Peng", "Zhou, Tao", "Chen, Geng", "Fu, Huazhu", OTHERS),
    "PraNet: Parallel Reverse Attention Network for Polyp Segmentation",
    2020,
    "Medical Image Computing and Computer Assisted Intervention (MICCAI)",
    "inproceedings",
    arxiv="2006.11392",
    doi="10.1007/978-3-030-59725-2_26",
)
TRAINING = Card(
    name="polyps",
    task="segmentation",
    classes=("background", "polyp"),
    modality="colonoscopy",
    licence="research use (Kvasir-SEG: research and education)",
    citations=(SUITE, *kvasir_seg.CARD.citations, *cvc_clinicdb.CARD.citations),
    url="https://github.com/DengPingFan/PraNet",
    display="Polyps",
    grouping="inferred",
    group_key="video sequence of frames from CVC-ClinicDB",
    group_source=(
        "frames of CVC-ClinicDB by their number, images of Kvasir-SEG each alone: "
        "their patients are unknown"
    ),
    counts={"images": 1450},
    get="TrainDataset.zip; TrainDataset/{image,masks}/*.png",
    folder="polyps",
)
# Training images are those of Kvasir-SEG and CVC-ClinicDB: only the last three sets are external.
# name: (display, folder below TestDataset, images, is it of the same origin as training images)
TESTS = {
    "polyps_kvasir": ("Kvasir (test)", "kvasir", 100, True),
    "polyps_clinicdb": ("CVC-ClinicDB (test)", "cvc-clinicdb", 62, True),
    "polyps_colondb": ("CVC-ColonDB", "cvc-colondb", 380, False),
    "polyps_cvc300": ("CVC-300", "cvc-300", 60, False),
    "polyps_etis": ("ETIS-Larib", "etis-laribpolypdb", 196, False),
}


def _test_card(name: str) -> Card:
    display, folder, count, same_origin = TESTS[name]
    return replace(
        TRAINING,
        name=name,
        citations=(SUITE,),
        display=display,
        grouping="unknown",
        group_key="",
        group_source="its frames are named without patient or sequence"
        + ("; of the same videos and patients as `polyps`" if same_origin else ""),
        counts={"images": count},
        official=f"test ({count})",
        get=f"TestDataset.zip; TestDataset/{folder}/{{images,masks}}/*.png",
    )


def training(download: layout.Download) -> list[Row]:
    """Return the training images; those named by a number are frames of CVC-ClinicDB."""
    folder = download.folder(
        *(f"traindataset/{name}/*.png" for name in ("image", "images")), "image/*.png"
    )
    masks = download.sibling(folder, "mask", "masks")
    images, truth = download.by_stem([folder], ".png"), download.by_stem([masks], ".png")
    # names of Kvasir-SEG are no numbers: `sequence_of` leaves each alone
    return [
        replace(row, group=cvc_clinicdb.sequence_of(row.id))
        for row in layout.paired(images, truth, TRAINING)
    ]


def testing(name: str, download: layout.Download) -> list[Row]:
    """Return the images of one test set."""
    inner = TESTS[name][1]  # of the same folder as the others: TestDataset
    folder = download.folder(*(f"{inner}/{images}/*.png" for images in ("images", "image")))
    masks = download.sibling(folder, "masks", "mask")
    images, truth = download.by_stem([folder], ".png"), download.by_stem([masks], ".png")
    return [replace(row, split="test") for row in layout.paired(images, truth, _test_card(name))]


layout.add(TRAINING, training, FOREGROUND)
for _name in TESTS:
    layout.add(_test_card(_name), partial(testing, _name), FOREGROUND)
