"""`medfmc_chest`, `medfmc_colon`, `medfmc_endo`: the three sets of the MedFM challenge (MedFMC).

Parts, classes and the form of the lists are those of openmedlab/MedFM; counts are the paper's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.files import read_lines
from benchmark.core.registry import InputError
from benchmark.data.base import Card, Grouping, TaskName
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

PAPER = Citation(
    ("Wang, Dequan", "Wang, Xiaosong", "Wang, Lilong", "Li, Mengzhang", "Da, Qian", OTHERS),
    "A Real-world Dataset and Benchmark For Foundation Model Adaptation in Medical Image "
    "Classification",
    2023,
    "Scientific Data 10:574",
    "article",
    arxiv="2306.09579",
    doi="10.1038/s41597-023-02460-0",
)
CHEST = (
    *("pleural_effusion", "nodule", "pneumonia", "cardiomegaly", "hilar_enlargement"),
    *("fracture_old", "fibrosis", "aortic_calcification", "tortuous_aorta", "thickened_pleura"),
    *("tuberculosis", "pneumothorax", "emphysema", "atelectasis", "calcification"),
    *("pulmonary_edema", "increased_lung_markings", "elevated_diaphragm", "consolidation"),
)


def _card(
    name: str,
    display: str,
    task: TaskName,
    classes: tuple[str, ...],
    modality: str,
    count: int,
    grouping: Grouping,
    source: str,
) -> Card:
    part = name.removeprefix("medfmc_")
    return Card(
        name=name,
        task=task,
        classes=classes,
        modality=modality,
        licence="terms of the figshare record",
        citations=(PAPER,),
        url="https://doi.org/10.6084/m9.figshare.c.6476047.v1",
        display=display,
        grouping=grouping,
        group_key="patient" if grouping == "inferred" else "",
        group_source=source,
        counts={"images": count},
        official="train (trainval.txt) and test (test_WithLabel.txt)",
        get=(
            f"MedFMC; its {part}/images and the lists {part}/trainval.txt, test_WithLabel.txt "
            "(data_backup/MedFMC of github.com/openmedlab/MedFM)"
        ),
        folder="medfmc",
    )


CARDS = {
    "chest": _card(
        "medfmc_chest", "ChestDR", "multilabel", CHEST, "chest X-ray, frontal", 4848, "single",
        "",
    ),
    "colon": _card(
        "medfmc_colon", "ColonPath", "classification", ("negative", "positive"),
        "colon pathology, 1024 x 1024", 10009, "inferred", "by the number that starts a file name",
    ),
    "endo": _card(
        "medfmc_endo", "Endo", "multilabel", ("ulcer", "erosion", "polyp", "tumor"), "colonoscopy",
        3865, "inferred", "by the file name without its last number",
    ),
}  # fmt: skip


# 2019-08976-1-1-1_2019-05-28 ..., 2019_03721_1-1_... and 13333_2021.12_0007_57297497.png
_PATIENTS = {"colon": r"(\d{4})[-_](\d+)", "endo": r"(.+)_\d+$"}


def rows(part: str, download: layout.Download) -> list[Row]:
    """Return the images of both lists; a list says `NAME 0`, `NAME 0 1 0 0` or `NAME 0,1,...`."""
    base = download.folder(f"{part}/trainval.txt", "trainval.txt")
    names = {path.name: path for path in download.files(base / "images", *layout.PICTURES)}
    found = []
    for split, name in (("train", "trainval.txt"), ("test", "test_WithLabel.txt")):
        for row in _list(CARDS[part], base / name, names, split):
            # chest has no pattern: each of its images is of another patient
            match = re.match(_PATIENTS.get(part, "(?!)"), Path(row.id).stem)
            found.append(replace(row, group="-".join(match.groups()) if match else ""))
    tested = {row.group for row in found if row.split == "test" and row.group}
    shared = tested & {row.group for row in found if row.split == "train"}
    if shared:
        # the official lists are kept: a group of its own in each part, and the leak is said
        download.card = layout.without_groups(
            CARDS[part], f"{len(shared)} patients are in both official lists"
        )
        found = [replace(row, group=row.group and f"{row.split} {row.group}") for row in found]
    return found


def _list(card: Card, path: Path, images: dict[str, Path], split: str) -> list[Row]:
    lines = read_lines(path)
    found = []
    columns = 1 if card.task == "classification" else len(card.classes)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        # names may hold blanks, and numbers are divided by blanks or commas: the end is clear
        fields = line.strip().replace(",", " ").split()
        values = fields[-columns:]
        name = line.strip()[: -len(" ".join(values))].strip()
        if len(fields) <= columns or not set(values) <= {"0", "1"} or name not in images:
            raise InputError(
                f"{str(path)!r}, row {number}: {line!r} is not an image in images/ "
                f"and {columns} numbers, 0 or 1"
            )
        if columns == 1:
            label = card.classes[int(values[0])]
        else:
            label = "|".join(c for c, v in zip(card.classes, values, strict=True) if v == "1")
        found.append(Row(name, images[name], label, split=split))
    return found


for _part, _entry in CARDS.items():
    layout.add(_entry, partial(rows, _part))
