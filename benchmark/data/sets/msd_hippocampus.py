"""`msd_hippocampus`: head and tail of the hippocampus in MRI (Decathlon task 4), by volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
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


def rows(download: layout.Download) -> list[Row]:
    """Return the slices of the labelled volumes."""

    def brain(name: str) -> str:
        # the numbers of the release have gaps (the test part), and pairs keep theirs: 2k-1 and 2k
        return f"brain{(int(name.rpartition('_')[2]) + 1) // 2:03d}"

    found = volumes(download, "hippocampus_", brain)
    return [row for volume in found for row in table.slices(volume)]


def volumes(download: layout.Download, prefix: str, group: Callable[[str], str]) -> Iterator[Row]:
    """Yield the labelled volumes of a task; nnU-Net's copy has `_0000` in the names of images."""
    endings = [f"{prefix}*{ending}" for ending in layout.VOLUMES]
    folder = download.folder(*(f"imagestr/{ending}" for ending in endings))
    masks = download.by_stem([download.sibling(folder, "labelstr")], *layout.VOLUMES)
    for name, image in download.by_stem([folder], *layout.VOLUMES).items():
        case = name.removesuffix("_0000")  # nnU-Net numbers the channels of an image
        if case not in masks:
            raise InputError(f"{str(image)!r} has no labels in {str(folder.parent / 'labelsTr')!r}")
        yield Row(case, image, mask=masks[case], group=group(case))


layout.add(CARD, rows)
