"""`msd_hippocampus`: head and tail of the hippocampus in MRI (Decathlon task 4), by volume."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout, table
from benchmark.data.readers.table import Row

CARD = Card(
    name="msd_hippocampus",
    task="segmentation",
    classes=("background", "anterior", "posterior"),
    modality="T1 MRI, cropped around the hippocampus",
    licence="CC BY-SA 4.0",
    citations=(
        Citation(
            ("Antonelli, Michela", "Reinke, Annika", "Bakas, Spyridon", "Farahani, Keyvan", OTHERS),
            "The Medical Segmentation Decathlon",
            2022,
            "Nature Communications 13:4128",
            "article",
            arxiv="2106.05735",
            doi="10.1038/s41467-022-30695-9",
        ),
    ),
    url="http://medicaldecathlon.com",
    display="MSD Hippocampus",
    grouping="inferred",
    group_key="brain",
    group_source=(
        "volumes 2k-1 and 2k are taken as the two sides of one brain (195 subjects gave 390 "
        "volumes, and such pairs are far more alike than others)"
    ),
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
    brain = f"brain{(int(name.rpartition('_')[2]) + 1) // 2:03d}"
    return layout.existing(Row(name, image, mask=base / "labelsTr" / image.name, group=brain))


layout.add(CARD, rows)
