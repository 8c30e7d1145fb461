"""`messidor2`: five adjudicated grades of diabetic retinopathy; an external test set, usually."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.files import read_lines
from benchmark.data.base import Card, many
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CARD = Card(
    name="messidor2",
    task="classification",
    classes=layout.GRADES,
    modality="colour fundus photographs",
    licence="Messidor-2: research and education, on request; grades: CC BY 4.0 (Google/Kaggle)",
    citations=(
        Citation(
            ("Decencière, Etienne", "Zhang, Xiwei", "Cazuguel, Guy", "Laÿ, Bruno", OTHERS),
            "Feedback on a publicly distributed image database: the Messidor database",
            2014,
            "Image Analysis & Stereology 33(3):231-234",
            "article",
            doi="10.5566/ias.1155",
        ),
        Citation(
            ("Krause, Jonathan", "Gulshan, Varun", "Rahimy, Ehsan", "Karth, Peter", OTHERS),
            "Grader Variability and the Importance of Reference Standards for Evaluating Machine "
            "Learning Models for Diabetic Retinopathy",
            2018,
            "Ophthalmology 125(8):1264-1272",
            "article",
            arxiv="1710.01711",
            doi="10.1016/j.ophtha.2018.01.034",
        ),
    ),
    url="https://www.adcis.net/en/third-party/messidor2/",
    display="Messidor-2",
    grouping="given",
    ordinal=True,
    group_key="examination of both eyes",
    counts=dict(zip(layout.GRADES, (1017, 270, 347, 75, 35), strict=True)),
    get=(
        "the images (IMAGES/), the adjudicated grades (messidor_data.csv, "
        "kaggle.com/datasets/google-brain/messidor2-dr-grades) and the pairs (messidor-2.csv)"
    ),
)


def rows(download: layout.Download) -> list[Row]:
    """Return the gradable images; the two eyes of an examination form a group."""
    path = download.file("messidor_data.csv")
    # the table of Google's graders, and the renamed columns of a copy that everybody has
    name = layout.column_of(path, "image_id", "id_code", "image")
    grade = layout.column_of(path, "adjudicated_dr_grade", "diagnosis")
    lines = layout.table_rows(path, (name, grade))
    pairs = _pairs(download)
    images, folder = download.images_of(lines[0][name], "images", "preprocess")
    # the adjudicators left the grade of images that they could not grade empty
    gradable = [(number, line) for number, line in enumerate(lines, 2) if line.get(grade)]
    if len(gradable) < len(lines):
        ungradable = many(len(lines) - len(gradable), "ungradable image")
        download.notes.append(f"left out: {ungradable}")
    return [
        Row(
            line[name],
            layout.picked(images, line[name], folder),
            layout.grade(line[grade], path, number),
            group=pairs.get(Path(line[name]).stem, ""),
        )
        for number, line in gradable
    ]


def _pairs(download: layout.Download) -> dict[str, str]:
    """Return the examination of each image, from lines `left;right`."""
    path = download.find("messidor-2.csv")
    if path is None:  # both eyes may then be on both sides of a split: said, not refused
        download.card = layout.without_groups(
            CARD, "messidor-2.csv, which pairs the two eyes of a patient, is not there"
        )
        return {}
    # names end with .JPG here and .jpg in the table of grades: only stems are compared
    lines = read_lines(path)[1:]
    names = [[Path(name.strip()).stem for name in line.split(";")] for line in lines]
    return {name: f"exam{i:04d}" for i, pair in enumerate(names) for name in pair if name}


layout.add(CARD, rows)
