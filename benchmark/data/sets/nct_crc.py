"""`nct_crc`: nine tissues in colorectal histology (NCT-CRC-HE-100K, tested on CRC-VAL-HE-7K)."""

from __future__ import annotations

from benchmark.core.citation import OTHERS, Citation
from benchmark.data.base import Card
from benchmark.data.readers import layout
from benchmark.data.readers.table import Row

FOLDERS = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
# The names of PathMNIST, which is made of the same patches: each can test a model of the other.
CLASSES = (
    *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth_muscle"),
    *("normal_colon_mucosa", "cancer_associated_stroma", "colorectal_adenocarcinoma_epithelium"),
)
# Patches of each class in NCT-CRC-HE-100K and CRC-VAL-HE-7K, in the order of FOLDERS.
TRAIN = (10407, 10566, 11512, 11557, 8896, 13536, 8763, 10446, 14317)
TEST = (1338, 847, 339, 634, 1035, 592, 741, 421, 1233)
CARD = Card(
    name="nct_crc",
    task="classification",
    classes=CLASSES,
    modality="colon histology patches, 224 x 224",
    licence="CC BY 4.0",
    citations=(
        Citation(
            ("Kather, Jakob Nikolas", "Krisam, Johannes", "Charoentong, Pornpimol", OTHERS),
            "Predicting survival from colorectal cancer histology slides using deep learning: A "
            "retrospective multicenter study",
            2019,
            "PLOS Medicine 16(1):e1002730",
            "article",
            doi="10.1371/journal.pmed.1002730",
        ),
    ),
    url="https://zenodo.org/records/1214456",
    display="NCT-CRC-HE",
    group_source="86 slides gave the training patches and no file says which; the test patches "
    "are of 50 other patients",
    counts=dict(zip(CLASSES, (a + b for a, b in zip(TRAIN, TEST, strict=True)), strict=True)),
    unchecked="the counts of each class (their sums are the published ones)",
    official="train (100,000) and test (7,180 of other patients)",
    get="NCT-CRC-HE-100K.zip and CRC-VAL-HE-7K.zip; folders ADI to TUM with *.tif",
)


def rows(download: layout.Download) -> list[Row]:
    """Return the patches of both releases; the one without normalised colours is another set."""
    return [
        Row(f"{part}/{image.stem}", image, name, split=part)
        for part, base in (("train", "nct-crc-he-100k"), ("test", "crc-val-he-7k"))
        for folder, name in zip(FOLDERS, CLASSES, strict=True)
        for image in download.files(
            download.folder(f"{base}/{folder}/*.tif", f"{base}/{folder}/*.png"), ".tif", ".png"
        )
    ]


layout.add(CARD, rows)
