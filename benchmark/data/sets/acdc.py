"""`acdc`: the two ventricles and the myocardium in cine MRI, slice by slice, scored by volume."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout, table
from benchmark.data.readers.table import Row

CARD = Card(
    name="acdc",
    task="segmentation",
    classes=("background", "right_ventricle", "myocardium", "left_ventricle"),
    modality="cine cardiac MRI",
    licence="CC BY-NC-SA 4.0",
    citations=(
        Citation(
            (
                "Bernard, Olivier",
                "Lalande, Alain",
                "Zotti, Clement",
                OTHERS,
            ),
            "Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and "
            "Diagnosis: Is the Problem Solved?",
            2018,
            "IEEE Transactions on Medical Imaging 37(11):2514-2525",
            "article",
            doi="10.1109/TMI.2018.2837502",
        ),
    ),
    url="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
    display="ACDC",
    grouping="given",
    group_key="patient (end-diastolic and end-systolic volumes)",
    counts={"volumes": 300},
    official="train (100 patients) and test (50 patients)",
    get="ACDC.zip; its database/{training,testing}/patient001/patient001_frame01(_gt).nii.gz",
)


def rows(root: Path) -> list[Row]:
    """Return the slices of all annotated frames; groups are patients, volumes are frames."""
    base = layout.one_of(root, "database", "ACDC/database", ".")
    return [
        row
        for part, folder in (("train", "training"), ("test", "testing"))
        for mask in layout.files(base / folder, "patient*/*_gt.nii.gz")
        for row in table.slices(_volume(mask, part))
    ]


def _volume(mask: Path, part: str) -> Row:
    name = mask.name.removesuffix("_gt.nii.gz")
    image = mask.with_name(f"{name}.nii.gz")
    return layout.existing(Row(name, image, mask=mask, group=mask.parent.name, split=part))


layout.add(CARD, rows)
