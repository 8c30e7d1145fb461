"""`chestxray14`: fourteen findings in frontal chest X-rays (NIH ChestX-ray14), by patient."""

from __future__ import annotations

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.files import read_lines
from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

# the order of the paper; 60,361 of the 112,120 images show none of them ("No Finding")
FINDINGS = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia"),
    *("pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural_thickening"),
    "hernia",
)
CARD = Card(
    name="chestxray14",
    task="multilabel",
    classes=FINDINGS,
    modality="chest X-ray, frontal",
    licence="no restrictions on use, attribution to the NIH Clinical Center asked",
    citations=(
        Citation(
            ("Wang, Xiaosong", "Peng, Yifan", "Lu, Le", "Lu, Zhiyong", OTHERS),
            "ChestX-ray8: Hospital-Scale Chest X-Ray Database and Benchmarks on Weakly-Supervised "
            "Classification and Localization of Common Thorax Diseases",
            2017,
            "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
            "inproceedings",
            arxiv="1705.02315",
            doi="10.1109/CVPR.2017.369",
        ),
    ),
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    display="ChestX-ray14",
    grouping="given",
    group_key="patient",
    counts={"images": 112120},
    official="train and validation (86,524, drawn by patient) and test (25,596)",
    get=(
        "images_001.tar.gz to images_012.tar.gz, Data_Entry_2017_v2020.csv, train_val_list.txt "
        "and test_list.txt"
    ),
)


def rows(download: layout.Download) -> list[Row]:
    """Return all images of the table that are there; both lists say which part they are of."""
    path = download.file("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
    lines = layout.table_rows(path, ("Image Index", "Finding Labels", "Patient ID"))
    # NIH's parts are drawn by patient: no patient is in both
    tested = {line.strip() for line in read_lines(download.file("test_list.txt"))}
    trained = {line.strip() for line in read_lines(download.file("train_val_list.txt"))}
    # images_001/images/*.png as the archives unpack, or all in one folder
    names = {line["Image Index"].removesuffix(".png") for line in lines}
    images = download.by_stem(download.all_folders("0000*.png"), ".png", only=names)
    found = []
    for number, line in enumerate(lines, 2):
        name = line["Image Index"]
        if (name in tested) == (name in trained):
            raise InputError(
                f"{str(path)!r}, row {number}: {name!r} is in none or both of "
                "train_val_list.txt and test_list.txt"
            )
        # names in the table have capitals, as in "Pleural_Thickening"
        labels = line["Finding Labels"].lower().split("|")
        found.append(
            Row(
                name,
                layout.picked(images, name.removesuffix(".png"), download.root),
                "|".join(label for label in labels if label != "no finding"),
                group=f"patient{line['Patient ID']}",
                split="test" if name in tested else "train",
            )
        )
    return found


layout.add(CARD, rows)
