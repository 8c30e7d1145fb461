"""`msd_hippocampus`: head and tail of the hippocampus in MRI (Decathlon task 4), by volume."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.base import Card
from benchmark.data.readers import layout, table
from benchmark.data.readers.table import Row

CARD = Card(
    name="msd_hippocampus",
    task="segmentation",
    classes=("background", "anterior", "posterior"),
    modality="T1 MRI, cropped around the hippocampus",
    licence="CC BY-SA 4.0",
    citation="Antonelli et al. 2022, Nature Communications 13:4128 (MSD, task 4)",
    url="http://medicaldecathlon.com",
    group_key="volume",
    counts={"volumes": 260},
    get="Task04_Hippocampus.tar; imagesTr/*.nii.gz and labelsTr/*.nii.gz (the test has no labels)",
)


def rows(root: Path) -> list[Row]:
    """Return the slices of the labelled volumes."""
    base = layout.one_of(root, "Task04_Hippocampus", ".")
    return [
        row
        for image in layout.files(base / "imagesTr", "hippocampus_*.nii.gz")
        for row in table.slices(_volume(base, image))
    ]


def _volume(base: Path, image: Path) -> Row:
    name = image.name.removesuffix(".nii.gz")
    return layout.existing(Row(name, image, mask=base / "labelsTr" / image.name))


layout.add(CARD, rows)
