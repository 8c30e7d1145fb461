"""`ddr_grading`: five grades of diabetic retinopathy, the main data set of the DVPT paper."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import Citation
from benchmark.core.files import read_lines
from benchmark.data.base import Card, many
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CARD = Card(
    name="ddr_grading",
    task="classification",
    classes=layout.GRADES,
    modality="colour fundus photographs",
    licence="MIT (the repository that links it)",
    citations=(
        Citation(
            ("Li, Tao", "Gao, Yingqi", "Wang, Kai", "Guo, Song", "Liu, Hanruo", "Kang, Hong"),
            "Diagnostic assessment of deep learning algorithms for diabetic retinopathy screening",
            2019,
            "Information Sciences 501:511-522",
            "article",
            doi="10.1016/j.ins.2019.06.011",
        ),
    ),
    url="https://github.com/nkicsl/DDR-dataset",
    display="DDR",
    grouping="unknown",
    group_source="both eyes of a patient may be there, and no file says which",
    ordinal=True,
    counts=dict(zip(layout.GRADES, (6266, 630, 4477, 236, 913), strict=True)),
    official="train, val (valid) and test; the 1,151 ungradable images (grade 5) are left out",
    get="DDR-dataset.zip.001 to .010; its DR_grading/{train,valid,test} and {train,valid,test}.txt",
)
# folder and list of the release: our name of the part
_PARTS = {"train": "train", "valid": "val", "test": "test"}


def rows(download: layout.Download) -> list[Row]:
    """Return the gradable images of the three parts, or of a copy with one table."""
    if download.find_folder("train.txt") is None and download.find("dr_grading.csv"):
        return _copy(download)
    base = download.folder("train.txt")
    return [row for part in _PARTS for row in _part(download, base, part)]


def _part(download: layout.Download, base: Path, part: str) -> list[Row]:
    listing = base / f"{part}.txt"
    lines = [line.strip() for line in read_lines(listing)]
    found, ungradable = [], 0
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        name, _, text = line.rpartition(" ")  # `007-0004-000.jpg 0`; names may hold blanks
        if text == "5":  # ungradable: no sixth grade of the disease
            ungradable += 1
            continue
        grade = layout.grade(text, listing, number)
        # ids keep the part: nobody says that names are unique across parts
        row = Row(f"{part}/{name}", base / part / name, grade, split=_PARTS[part])
        found.append(layout.existing(row))
    if ungradable:
        download.notes.append(f"{part}: left out: {many(ungradable, 'ungradable image')} (grade 5)")
    return found


def _copy(download: layout.Download) -> list[Row]:
    """Return the images of `DR_grading.csv`, a copy that lost the official parts."""
    path = download.file("dr_grading.csv")
    name = layout.column_of(path, "id_code", "image", "filename")
    grade = layout.column_of(path, "diagnosis", "grade", "level", "label")
    lines = layout.table_rows(path, (name, grade))
    gradable = [(n, line) for n, line in enumerate(lines, 2) if line[grade] not in ("5", "5.0")]
    images, place = download.images_of(lines[0][name], "dr_grading")
    download.notes.append(
        "this copy has lost the official parts: it is split by seed; left out: "
        f"{many(len(lines) - len(gradable), 'ungradable image')} (grade 5)"
    )
    return [
        Row(
            line[name],
            layout.picked(images, line[name], place),
            layout.grade(line[grade], path, number),
        )
        for number, line in gradable
    ]


layout.add(CARD, rows)
