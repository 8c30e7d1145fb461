"""`acdc`: the two ventricles and the myocardium in cine MRI, slice by slice, scored by volume."""

from __future__ import annotations

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


def rows(download: layout.Download) -> list[Row]:
    """Return the slices of all annotated frames; groups are patients, volumes are frames."""
    # the copies of semi-supervised papers: 2-D slices, from which no HD95 in mm can be had
    download.refuse_copies(
        "slices without spacing are not read", "acdc_training_slices", "*_slice_*.h5", "*.npz"
    )
    # the release is database/training/patient001; copies repeat a folder or leave one out
    # without a test part the training part must not be called "train": it would be all
    training = download.folder("training/patient*", "train/patient*", "patient*")
    testing = download.find_folder("testing/patient*", "test/patient*")
    parts = {"": training} if testing in (None, training) else {"train": training, "test": testing}
    if "" in parts:
        download.notes.append("the test part is absent: the training part is split by seed")
    found = []
    for part, folder in parts.items():
        if folder is None:
            continue
        for patient in download.inside(folder, "patient*"):
            # only the frames of end diastole and end systole have a mask; a patient's whole
            # sequence is in patient001_4d.nii.gz and is not read
            for mask in download.inside(patient, "*_gt.nii.gz", "*_gt.nii"):
                name, _, ending = mask.name.partition("_gt")
                image = mask.with_name(f"{name}{ending}")
                row = Row(name, image, mask=mask, group=patient.name, split=part)
                found += table.slices(layout.existing(row))
    return found


layout.add(CARD, rows)
