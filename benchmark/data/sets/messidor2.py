"""`messidor2`: five adjudicated grades of diabetic retinopathy; an external test set, usually."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
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
    group_key="examination (both eyes), where the list of pairs is present",
    counts=dict(zip(layout.GRADES, (1017, 270, 347, 75, 35), strict=True)),
    get=(
        "the images (IMAGES/), the adjudicated grades (messidor_data.csv, "
        "kaggle.com/datasets/google-brain/messidor2-dr-grades) and the pairs (messidor-2.csv)"
    ),
)


def rows(root: Path) -> list[Row]:
    """Return the gradable images; the two eyes of an examination form a group."""
    lines = layout.table_rows(
        layout.one_of(root, "messidor_data.csv"), ("image_id", "adjudicated_dr_grade")
    )
    pairs, folder = _pairs(root), layout.one_of(root, "IMAGES", "images")
    graded = [line for line in lines if line["adjudicated_dr_grade"] in ("0", "1", "2", "3", "4")]
    return [_row(folder, line["image_id"], line["adjudicated_dr_grade"], pairs) for line in graded]


def _row(folder: Path, name: str, grade: str, pairs: dict[str, str]) -> Row:
    # the grades say .jpg where some releases of the images say .JPG or .png
    stem = Path(name).stem
    image = layout.one_of(folder, name, f"{stem}.JPG", f"{stem}.jpg", f"{stem}.png")
    group = pairs.get(stem, "")
    return Row(name, image, layout.GRADES[int(grade)], group=group)


def _pairs(root: Path) -> dict[str, str]:
    """Return the examination of each image, from lines `left;right`."""
    path = root / "messidor-2.csv"
    lines = path.read_text(encoding="utf-8-sig").splitlines()[1:] if path.exists() else []
    names = [[Path(name.strip()).stem for name in line.split(";")] for line in lines]
    return {name: f"exam{i:04d}" for i, pair in enumerate(names) for name in pair if name}


layout.add(CARD, rows)
