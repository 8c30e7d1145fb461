"""`msd_brain_tumour`: gliomas in four MR sequences (Decathlon task 1, from BraTS), by volume."""

from __future__ import annotations

from functools import partial

from benchmark.data.base import Card
from benchmark.data.readers import layout, table
from benchmark.data.readers.declared import Declaration
from benchmark.data.readers.table import Reading, Row, read_classes, read_image
from benchmark.data.sets import msd_hippocampus

# stored are FLAIR, T1, T1 with contrast, T2; an image has three channels, and T1 shows least of
# what the classes are drawn by
CHANNELS = Declaration(channels=(0, 2, 3))
CARD = Card(
    name="msd_brain_tumour",
    task="segmentation",
    classes=("background", "edema", "non_enhancing_tumour", "enhancing_tumour"),
    modality="brain MRI; FLAIR, T1 with contrast and T2 as red, green and blue",
    licence="CC BY-SA 4.0",
    citations=msd_hippocampus.CARD.citations,
    url="http://medicaldecathlon.com",
    display="MSD Brain Tumour",
    group_source="each volume is a group, and the release does not say which share a patient",
    counts={"volumes": 484},
    get="Task01_BrainTumour.tar; imagesTr/BRATS_*.nii.gz (4-D) and labelsTr/*.nii.gz",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the axial slices of the labelled volumes."""
    return [
        row
        for volume in msd_hippocampus.volumes(download, "brats_", lambda name: name)
        # 1 mm in all directions (BraTS resampled them), so no spacing tells the axis
        for row in table.slices(volume, CHANNELS, axis=2)
    ]


READING = Reading(partial(read_image, declared=CHANNELS), read_classes, declared=CHANNELS)
layout.add(CARD, rows, READING)
