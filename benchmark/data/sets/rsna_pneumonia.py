"""`rsna_pneumonia`: signs of pneumonia in frontal chest X-rays (RSNA 2018), by patient.

Its images are 30,000 of ChestX-ray14, labelled again by radiologists: a model that was trained on
the one set has seen patients of the other.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.files import read_json
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

CLASSES = ("no_pneumonia", "pneumonia")
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
CARD = Card(
    name="rsna_pneumonia",
    task="classification",
    classes=CLASSES,
    modality="chest X-ray, frontal",
    licence="Kaggle competition rules (non-commercial research and education)",
    citations=(
        Citation(
            ("Shih, George", "Wu, Carol C.", "Halabi, Safwan S.", "Kohli, Marc D.", OTHERS),
            "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert "
            "Annotations of Possible Pneumonia",
            2019,
            "Radiology: Artificial Intelligence 1(1):e180041",
            "article",
            doi="10.1148/ryai.2019180041",
        ),
    ),
    url="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    display="RSNA Pneumonia",
    grouping="given",
    group_key="patient of ChestX-ray14",
    counts=dict(zip(CLASSES, (20672, 6012), strict=True)),
    official="none of the 26,684 labelled training images; those of the test part are not read",
    get=(
        "stage_2_train_labels.csv, stage_2_train_images/*.dcm and, for the patients, "
        f"{MAPPING} (rsna.org, Pneumonia Detection Challenge 2018)"
    ),
    unchecked="the licence; the counts follow from shares that third parties report",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the images of the table, which has a row for each box that was drawn in an image."""
    path = download.file("stage_2_train_labels.csv", "train_labels.csv")
    lines = layout.table_rows(path, ("patientId", "Target"))
    # two boxes of one image are two rows of the same target, not two images
    targets: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        name, target = line["patientId"], line["Target"].removesuffix(".0")
        if target not in ("0", "1") or targets.setdefault(name, target) != target:
            raise InputError(
                f"{str(path)!r}, row {number}: the target {line['Target']!r} of {name!r} is not 0 "
                "or 1, or not that of its other rows"
            )
    first = next(iter(targets))
    endings = (".dcm", *layout.PICTURES)  # copies are converted to PNG or JPEG
    folder = download.folder(*(f"{first.lower()}{ending}" for ending in endings))
    images = download.by_stem([folder], *endings, only=targets.keys())
    patients = _patients(download)
    return [
        Row(
            name,
            layout.picked(images, name, folder),
            CLASSES[int(target)],
            group=patients.get(name, ""),
        )
        for name, target in targets.items()
    ]


def _patients(download: layout.Download) -> dict[str, str]:
    """Return the patient of each image: `patientId` names the image, the mapping the patient.

    Raises:
        InputError: a mapping that is none.
    """
    # the competition's own files know no patients: each patientId there is of one image
    path = download.find(MAPPING, "mappings.json")
    if path is None:
        download.card = layout.without_groups(
            CARD, f"{MAPPING}, which names the patients, is not there"
        )
        return {}
    entries = read_json(path, "get the original file")
    try:
        # 00000001_000.png is the first image of patient 1 in ChestX-ray14
        return {
            entry["subset_img_id"]: f"patient{Path(entry['img_id']).stem.partition('_')[0]}"
            for entry in entries
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"cannot read {str(path)!r} ({error}); get the original file") from None


layout.add(CARD, rows)
