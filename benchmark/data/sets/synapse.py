"""`synapse`: abdominal organs in CT (the BTCV challenge), split as in TransUNet."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout, table
from benchmark.data.readers.table import Reading, Row, read_classes, read_image

# fmt: off
ORGANS = (
    "spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach",
    "aorta", "inferior_vena_cava", "portal_and_splenic_vein", "pancreas", "right_adrenal_gland",
    "left_adrenal_gland",
)
# fmt: on
# Chen et al. 2021 (arXiv:2102.04306), lists_Synapse/test_vol.txt
TEST = frozenset({"0001", "0002", "0003", "0004", "0008", "0022", "0025", "0029", "0032"})
TEST |= {"0035", "0036", "0038"}
WINDOW = (-125.0, 275.0)  # Hounsfield units, as in TransUNet
CARD = Card(
    name="synapse",
    task="segmentation",
    classes=("background", *ORGANS),
    modality="abdominal CT",
    licence="Synapse terms of use, on registration",
    citations=(
        Citation(
            ("Landman, Bennett", "Xu, Zhoubing", "Igelsias, J. E.", "Styner, Martin", OTHERS),
            "MICCAI Multi-Atlas Labeling Beyond the Cranial Vault: Workshop and Challenge",
            2015,
            "MICCAI Multi-Atlas Labeling Beyond the Cranial Vault Workshop and Challenge",
            "inproceedings",
        ),
        Citation(
            ("Chen, Jieneng", "Lu, Yongyi", "Yu, Qihang", "Luo, Xiangde", OTHERS),
            "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation",
            2021,
            arxiv="2102.04306",
        ),
    ),
    url="https://www.synapse.org/Synapse:syn3193805",
    display="Synapse",
    grouping="given",
    group_key="patient",
    counts={"volumes": 30},
    official="train (18) and test (12) as in TransUNet; all 13 organs, not its 8",
    get="RawData.zip; below its Training: img/img0001.nii.gz and label/label0001.nii.gz",
)


def rows(root: Path) -> list[Row]:
    """Return the slices of the 30 labelled volumes."""
    base = layout.one_of(root, "RawData/Training", "Training", ".")
    return [
        row
        for image in layout.files(base / "img", "img*.nii.gz")
        for row in table.slices(_volume(base, image))
    ]


def _volume(base: Path, image: Path) -> Row:
    number = image.name.removeprefix("img").removesuffix(".nii.gz")
    mask = base / "label" / f"label{number}.nii.gz"
    part = "test" if number in TEST else "train"
    return layout.existing(Row(f"img{number}", image, mask=mask, split=part))


layout.add(CARD, rows, Reading(lambda row: read_image(row, WINDOW), read_classes))
