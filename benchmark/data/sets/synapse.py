"""`synapse`: abdominal organs in CT (the BTCV challenge), split as in TransUNet."""

from __future__ import annotations

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
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


def rows(download: layout.Download) -> list[Row]:
    """Return the slices of the 30 labelled volumes."""
    download.refuse_copies(
        "slices without spacing are not read", "train_npz", "test_vol_h5", "*.npy.h5"
    )
    endings = [f"img*{ending}" for ending in layout.VOLUMES]
    # the release has an img folder of the test scans, too; they have no labels
    places = ("training/img", "img", "imagestr")
    folder = download.folder(*(f"{place}/{ending}" for place in places for ending in endings))
    masks = download.by_stem([download.sibling(folder, "label", "labelstr")], *layout.VOLUMES)
    found = []
    for name, image in download.by_stem([folder], *layout.VOLUMES).items():
        number = name.removeprefix("img").removesuffix("_0000")
        # label0001 as released; nnU-Net calls the mask as the image
        mask = masks.get(f"label{number}", masks.get(f"img{number}"))
        if mask is None:
            raise InputError(f"{str(image)!r} has no label{number} beside its folder")
        # 18 and 12 of the 30 labelled scans; the challenge's own 20 test scans have no labels
        part = "test" if number in TEST else "train"
        found += table.slices(Row(f"img{number}", image, mask=mask, split=part))
    return found


layout.add(CARD, rows, Reading(lambda row: read_image(row, WINDOW), read_classes))
