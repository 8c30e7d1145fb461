"""`ham10000`: seven kinds of pigmented skin lesions; photographs of one lesion form a group."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
CARD = Card(
    name="ham10000",
    task="classification",
    classes=CLASSES,
    modality="dermoscopy",
    licence="CC BY-NC 4.0",
    citations=(
        Citation(
            ("Tschandl, Philipp", "Rosendahl, Cliff", "Kittler, Harald"),
            "The HAM10000 dataset, a large collection of multi-source dermatoscopic images of "
            "common pigmented skin lesions",
            2018,
            "Scientific Data 5:180161",
            "article",
            doi="10.1038/sdata.2018.161",
        ),
    ),
    url="https://doi.org/10.7910/DVN/DBW86T",
    display="HAM10000",
    grouping="given",
    group_key="lesion",
    counts=dict(zip(CLASSES, (327, 514, 1099, 115, 1113, 6705, 142), strict=True)),
    get="HAM10000_metadata and HAM10000_images_part_1, _part_2 (or one folder of images)",
)


def rows(root: Path) -> list[Row]:
    """Return the images of the metadata table."""
    path = layout.one_of(root, "HAM10000_metadata.csv", "HAM10000_metadata")
    lines = layout.table_rows(path, ("lesion_id", "image_id", "dx"))
    images = {image.stem: image for image in layout.files(root, "*/*.jpg")}
    return [
        layout.existing(
            Row(
                line["image_id"],
                images.get(line["image_id"], root / f"{line['image_id']}.jpg"),
                line["dx"],
                group=line["lesion_id"],
            )
        )
        for line in lines
    ]


layout.add(CARD, rows)
