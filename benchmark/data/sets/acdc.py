"""`acdc`: the two ventricles and the myocardium in cine MRI, slice by slice, scored by volume."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.base import Card
from benchmark.data.readers import layout, table
from benchmark.data.readers.table import Row

CARD = Card(
    name="acdc",
    task="segmentation",
    classes=("background", "right_ventricle", "myocardium", "left_ventricle"),
    modality="cine cardiac MRI",
    licence="CC BY-NC-SA 4.0",
    citation="Bernard et al. 2018, IEEE Trans. Med. Imaging 37:2514",
    url="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
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
