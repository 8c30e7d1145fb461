"""`chexpert`: five findings in chest X-rays (CheXpert), by patient; uncertain ones are negative."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card, many
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

# the five on which the competition is scored; columns have the names with blanks and capitals
COLUMNS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
CARD = Card(
    name="chexpert",
    task="multilabel",
    classes=tuple(name.lower().replace(" ", "_") for name in COLUMNS),
    modality="chest X-ray, frontal",
    licence="Stanford University Dataset Research Use Agreement, on registration",
    citations=(
        Citation(
            ("Irvin, Jeremy", "Rajpurkar, Pranav", "Ko, Michael", "Yu, Yifan", OTHERS),
            "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert "
            "Comparison",
            2019,
            "AAAI Conference on Artificial Intelligence",
            "inproceedings",
            arxiv="1901.07031",
            doi="10.1609/aaai.v33i01.3301590",
        ),
    ),
    url="https://stanfordmlgroup.github.io/competitions/chexpert/",
    display="CheXpert",
    grouping="given",
    group_key="patient",
    counts={"images": 191027 + 202},
    unchecked="the number of frontal images",
    official="train and test (the expert-labelled `valid` of 200 patients); frontal views only",
    get="CheXpert-v1.0-small.zip (or CheXpert-v1.0.zip); its train.csv, valid.csv, train/, valid/",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the frontal images. Uncertain labels (-1) count as negative: the paper's U-Zeros."""
    return [
        row
        for part, name in (("train", "train"), ("test", "valid"))
        for row in _part(download, part, name)
    ]


def _part(download: layout.Download, part: str, name: str) -> list[Row]:
    path = download.file(f"{name}.csv")
    lines = layout.table_rows(path, ("Path", "Frontal/Lateral", *COLUMNS))
    uncertain, found = 0, []
    for number, line in enumerate(lines, 2):
        # lateral views show the findings differently, and not every study has one
        if line["Frontal/Lateral"] != "Frontal":
            continue
        # empty: the report does not mention it, taken as negative
        values = {column: line[column] for column in COLUMNS}
        odd = [v for v in values.values() if v not in ("", "0", "0.0", "1", "1.0", "-1", "-1.0")]
        if odd:
            raise InputError(f"{str(path)!r}, row {number}: the label {odd[0]!r} is not 1, 0 or -1")
        uncertain += any(value.startswith("-1") for value in values.values())
        # the table's paths start with the folder of the release: CheXpert-v1.0-small/train/...
        # copies that renamed the folder keep the table, so its name is not looked at
        inner = Path(*Path(line["Path"]).parts[1:])
        positive = [c.lower().replace(" ", "_") for c, v in values.items() if v in ("1", "1.0")]
        image = path.parent / inner
        row = Row(inner.as_posix(), image, "|".join(positive), group=inner.parts[1], split=part)
        found.append(layout.existing(row))
    if uncertain:
        images = many(uncertain, "image")
        download.notes.append(f"{name}: uncertain labels of {images} count as negative (U-Zeros)")
    if len(found) < len(lines):
        lateral = many(len(lines) - len(found), "lateral view")
        download.notes.append(f"{name}: left out: {lateral}")
    return found


layout.add(CARD, rows)
