"""`ddr_grading`: five grades of diabetic retinopathy, the main data set of the DVPT paper."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CARD = Card(
    name="ddr_grading",
    task="classification",
    classes=layout.GRADES,
    modality="colour fundus photographs",
    licence="research use, on request",
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
    get="DDR-dataset.zip; its DR_grading/{train,valid,test} and {train,valid,test}.txt",
)
_PARTS = {"train": "train", "valid": "val", "test": "test"}


def rows(root: Path) -> list[Row]:
    """Return the gradable images of `DR_grading/{train,valid,test}`."""
    base = layout.one_of(root, "DDR-dataset/DR_grading", "DR_grading", ".")
    return [row for part in _PARTS for row in _part(base, part)]


def _part(base: Path, part: str) -> list[Row]:
    listing = layout.one_of(base, f"{part}.txt")
    found = []
    for line in listing.read_text().split("\n"):
        name, _, grade = line.strip().rpartition(" ")
        if not name or grade == "5":
            continue
        if not grade.isdigit() or int(grade) >= len(layout.GRADES):
            raise InputError(f"{str(listing)!r}: the line {line!r} is not `name.jpg grade`")
        row = Row(
            f"{part}/{name}", base / part / name, layout.GRADES[int(grade)], split=_PARTS[part]
        )
        found.append(layout.existing(row))
    return found


layout.add(CARD, rows)
