"""`ham10000`: seven kinds of pigmented skin lesions; photographs of one lesion form a group."""

from __future__ import annotations

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


def rows(download: layout.Download) -> list[Row]:
    """Return the images of the metadata table."""
    path = download.file("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
    lines = layout.table_rows(path, ("lesion_id", "image_id", "dx"))
    # the two halves of the release, or one folder of all; other folders of JPEG (ISIC's test
    # images, masks) are known by names that the table does not have
    folders = download.all_folders("*.jpg")
    images = download.by_stem(folders, ".jpg", only={line["image_id"] for line in lines})
    return [
        Row(
            line["image_id"],
            layout.picked(images, line["image_id"], download.root),
            line["dx"],
            # 10,015 photographs show 7,470 lesions
            group=line["lesion_id"],
        )
        for line in lines
    ]


layout.add(CARD, rows)
