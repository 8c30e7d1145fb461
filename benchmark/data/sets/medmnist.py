"""The twelve 2-D MedMNIST sets, fetched with their checksums; ChestMNIST is multi-label.

The released 28 x 28 images; larger releases open by their path (dermamnist_224.npz).
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, Entry, datasets
from benchmark.data.readers.npz import open_npz

URL = "https://zenodo.org/records/10519652/files/{}.npz?download=1"
# name: (modality, MD5 of NAME.npz at 28 x 28, number of classes, images in train + val + test)
SETS = {
    "pathmnist": ("colon pathology", "a8b06965200029087d5bd730944a56c1", 9, 107180),
    "chestmnist": ("chest X-ray", "02c8a6516a18b556561a56cbdd36c4a8", 14, 112120),
    "dermamnist": ("dermoscopy", "0744692d530f8e62ec473284d019b0c7", 7, 10015),
    "octmnist": ("retinal OCT", "c68d92d5b585d8d81f7112f81e2d0842", 4, 109309),
    "pneumoniamnist": ("chest X-ray", "28209eda62fecd6e6a2d98b1501bb15f", 2, 5856),
    "retinamnist": ("fundus photographs", "bd4c0672f1bba3e3a89f0e4e876791e4", 5, 1600),
    "breastmnist": ("breast ultrasound", "750601b1f35ba3300ea97c75c52ff8f6", 2, 780),
    "bloodmnist": ("blood cell microscopy", "7053d0359d879ad8a5505303e11de1dc", 8, 17092),
    "tissuemnist": ("kidney cortex microscopy", "ebe78ee8b05294063de985d821c1c34b", 8, 236386),
    "organamnist": ("abdominal CT, axial", "68e3f8846a6bd62f0c9bf841c0d9eacc", 11, 58830),
    "organcmnist": ("abdominal CT, coronal", "b9ceb9546e10131b32923c5bbeaea2b1", 11, 23583),
    "organsmnist": ("abdominal CT, sagittal", "9ab87b696fb54e2a387ebe992d6ed5f1", 11, 25211),
}


# fmt: off
FINDINGS = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia",
    "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
)
# fmt: on


def card_of(name: str) -> Card:
    """Return the card of one set."""
    modality, _, num_classes, count = SETS[name]
    return Card(
        name=name,
        task="multilabel" if name == "chestmnist" else "classification",
        classes=FINDINGS if name == "chestmnist" else tuple(map(str, range(num_classes))),
        modality=modality,
        licence="CC BY-NC 4.0" if name == "dermamnist" else "CC BY 4.0",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41",
        url="https://medmnist.com",
        ordinal=name == "retinamnist",
        counts={"images": count},
        official="train, val and test",
        get=f"{name}.npz (fetched by itself where there is a network)",
    )


def open_medmnist(name: str, folder: Path) -> Dataset:
    """Return the set in FOLDER/NAME.npz; with its card, whatever the classes found."""
    path = folder / f"{name}.npz"
    if not path.exists():
        raise InputError(
            f"there is no {str(path)!r}; run `python -m benchmark data prepare {name}` with a "
            f"network, or get it from {URL.format(name)}"
        )
    dataset = open_npz(path)
    card, found = card_of(name), dataset.card
    if (found.task, len(found.classes)) != (card.task, len(card.classes)):
        raise InputError(f"{str(path)!r} has other classes than {name}; get the original file")
    return replace(dataset, card=card, files=())


def download(name: str, folder: Path) -> Path:
    """Fetch NAME.npz into `folder` and return its path; nothing is kept if the checksum is wrong.

    Raises:
        InputError: without a network, or where the file is not the published one.
    """
    path = folder / f"{name}.npz"
    partial_path = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        urllib.request.urlretrieve(os.environ.get("MEDMNIST_URL", URL).format(name), partial_path)
        with partial_path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != SETS[name][1]:
            raise InputError(f"{name}.npz has the MD5 {found}, published is {SETS[name][1]}")
        partial_path.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot fetch {name}.npz ({error}); get it from {URL.format(name)} where there is a "
            f"network and put it into {str(folder)!r}"
        ) from None
    finally:
        partial_path.unlink(missing_ok=True)
    return path


for _name in SETS:
    datasets.add(_name)(Entry(card_of(_name), partial(open_medmnist, _name)))
