"""The twelve 2-D MedMNIST sets in 28, 64, 128 and 224 px, fetched with their checksums.

Names, classes, counts, licences and checksums are those of the medmnist package 3.0.2 (`info.py`).
A set of another size than 28 px has it in its name: `dermamnist_224`.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, Entry, datasets
from benchmark.data.readers import layout
from benchmark.data.readers.npz import MEDMNIST, open_npz

URL = "https://zenodo.org/records/10519652/files/{}.npz?download=1"
SIZES = (28, 64, 128, 224)


class MedMNIST(NamedTuple):
    """One set: how it is written, what it shows, its classes, images of each part, checksums."""

    display: str
    modality: str
    classes: str  # divided by blanks, in the order of their numbers
    counts: tuple[int, int, int]  # train, val, test
    md5: str  # of NAME.npz, NAME_64.npz, NAME_128.npz and NAME_224.npz, divided by blanks


ORGANS = (
    "bladder femur_left femur_right heart kidney_left kidney_right liver lung_left "
    "lung_right pancreas spleen"
)
SETS = {
    "pathmnist": MedMNIST(
        "PathMNIST",
        "colon pathology",
        "adipose background debris lymphocytes mucus smooth_muscle normal_colon_mucosa "
        "cancer_associated_stroma colorectal_adenocarcinoma_epithelium",
        (89996, 10004, 7180),
        "a8b06965200029087d5bd730944a56c1 55aa9c1e0525abe5a6b9d8343a507616 "
        "ac42d08fb904d92c244187169d1fd1d9 2c51a510bcdc9cf8ddb2af93af1eadec",
    ),
    "chestmnist": MedMNIST(
        "ChestMNIST",
        "chest X-ray",
        "atelectasis cardiomegaly effusion infiltration mass nodule pneumonia pneumothorax "
        "consolidation edema emphysema fibrosis pleural hernia",
        (78468, 11219, 22433),
        "02c8a6516a18b556561a56cbdd36c4a8 9de6cd0b934ebb5b7426cfba5efbae16 "
        "db107e5590b27930b62dbaf558aebee3 45bd33e6f06c3e8cdb481c74a89152aa",
    ),
    "dermamnist": MedMNIST(
        "DermaMNIST",
        "dermoscopy",
        "actinic_keratoses_and_intraepithelial_carcinoma basal_cell_carcinoma "
        "benign_keratosis_like_lesions dermatofibroma melanoma melanocytic_nevi "
        "vascular_lesions",
        (7007, 1003, 2005),
        "0744692d530f8e62ec473284d019b0c7 b70a2f5635c6199aeaa28c31d7202e1f "
        "2defd784463fa5243564e855ed717de1 8974907d8e169bef5f5b96bc506ae45d",
    ),
    "octmnist": MedMNIST(
        "OCTMNIST",
        "retinal OCT",
        "choroidal_neovascularization diabetic_macular_edema drusen normal",
        (97477, 10832, 1000),
        "c68d92d5b585d8d81f7112f81e2d0842 e229e9440236b774d9f0dfef9d07bdaf "
        "0a97e76651ace45c5d943ee3f65b63ae abc493b6d529d5de7569faaef2773ba3",
    ),
    "pneumoniamnist": MedMNIST(
        "PneumoniaMNIST",
        "chest X-ray",
        "normal pneumonia",
        (4708, 524, 624),
        "28209eda62fecd6e6a2d98b1501bb15f 8f4eceb4ccffa70c672198ea285246c6 "
        "05b46931834c231683c68f40c47b2971 d6a3c71de1b945ea11211b03746c1fe1",
    ),
    "retinamnist": MedMNIST(
        "RetinaMNIST",
        "fundus photographs",
        "0 1 2 3 4",
        (1080, 120, 400),
        "bd4c0672f1bba3e3a89f0e4e876791e4 afda852cc34dcda56f86ad2b2457dbcc "
        "e48e916a24454daf90583d4e6efb1a18 eae7e3b6f3fcbda4ae613ebdcbe35348",
    ),
    "breastmnist": MedMNIST(
        "BreastMNIST",
        "breast ultrasound",
        "malignant normal_or_benign",
        (546, 78, 156),
        "750601b1f35ba3300ea97c75c52ff8f6 742edef2a1fd1524b2efff4bd7ba9364 "
        "363e4b3f8d712e9b5de15470a2aaadf1 b56378a6eefa9fed602bb16d192d4c8b",
    ),
    "bloodmnist": MedMNIST(
        "BloodMNIST",
        "blood cell microscopy",
        "basophil eosinophil erythroblast immature_granulocyte lymphocyte monocyte neutrophil "
        "platelet",
        (11959, 1712, 3421),
        "7053d0359d879ad8a5505303e11de1dc 2b94928a2ae4916078ca51e05b6b800b "
        "adace1e0ed228fccda1f39692059dd4c b718ff6835fcbdb22ba9eacccd7b2601",
    ),
    "tissuemnist": MedMNIST(
        "TissueMNIST",
        "kidney cortex microscopy",
        "collecting_duct distal_convoluted_tubule glomerular_endothelial_cells "
        "interstitial_endothelial_cells leukocytes podocytes proximal_tubule_segments "
        "thick_ascending_limb",
        (165466, 23640, 47280),
        "ebe78ee8b05294063de985d821c1c34b 123ece2eba09d0aa5d698fda57103344 "
        "61b955355d7425a89687b06cca3ce0c2 b077128c4a949f0a4eb01517f9037b9c",
    ),
    "organamnist": MedMNIST(
        "OrganAMNIST",
        "abdominal CT, axial",
        ORGANS,
        (34561, 6491, 17778),
        "68e3f8846a6bd62f0c9bf841c0d9eacc 2dcccc29b88e6da5a01161ef20cda288 "
        "eeae80d0a227a8d099027e1b3cfd3b60 50747347e05c87dd3aaf92c49f9f3170",
    ),
    "organcmnist": MedMNIST(
        "OrganCMNIST",
        "abdominal CT, coronal",
        ORGANS,
        (12975, 2392, 8216),
        "b9ceb9546e10131b32923c5bbeaea2b1 3ce34a8724ea6f548e6db4744d03b6a9 "
        "773c1f009daa3fe5d9a2a201b2a7ed94 050f5e875dc056f6768abf94ec9995d1",
    ),
    "organsmnist": MedMNIST(
        "OrganSMNIST",
        "abdominal CT, sagittal",
        ORGANS,
        (13932, 2452, 8827),
        "9ab87b696fb54e2a387ebe992d6ed5f1 53a6d115339d874c25e309a994ff46d3 "
        "ded0c5fa01a95dc4978b956f613e9b8e b354719e553fbbb2513d5533f52a4cb1",
    ),
}


def name_of(base: str, size: int) -> str:
    """Return the name of a set at a size, which is also that of its file."""
    return base if size == SIZES[0] else f"{base}_{size}"


def card_of(base: str, size: int = SIZES[0]) -> Card:
    """Return the card of one set at one size."""
    found = SETS[base]
    name = name_of(base, size)
    single = base == "tissuemnist"  # cells of three specimens, not patients (MedMNIST v2, 2023)
    return Card(
        name=name,
        task="multilabel" if base == "chestmnist" else "classification",
        classes=tuple(found.classes.split()),
        modality=found.modality,
        licence="CC BY-NC 4.0" if base == "dermamnist" else "CC BY 4.0",
        citations=(MEDMNIST,),
        url="https://medmnist.com",
        ordinal=base == "retinamnist",
        group_source="the archives have no "
        + ("numbers of the three tissue specimens" if single else "patient numbers"),
        counts={"images": sum(found.counts)},
        official="train ({:,}), val ({:,}) and test ({:,})".format(*found.counts),
        get=f"{name}.npz (`data prepare {name}` fetches it where there is a network)",
        display=found.display if size == SIZES[0] else f"{found.display} {size}",
        folder=base,
        variant_of="" if size == SIZES[0] else base,
    )


def open_medmnist(base: str, size: int, folder: Path) -> Dataset:
    """Return the set in FOLDER/NAME.npz, with its own card: the archive names no classes."""
    card = card_of(base, size)
    path = layout.Download(card, folder).find(f"{card.name}.npz")
    if path is None:
        raise InputError(
            f"there is no {card.name}.npz in {str(folder)!r}; run `python -m benchmark data "
            f"prepare {card.name}` with a network, or get it from {URL.format(card.name)}"
        )
    dataset = open_npz(path)
    found = dataset.card
    if (found.task, len(found.classes)) != (card.task, len(card.classes)):
        raise InputError(f"{str(path)!r} has other classes than {card.name}; get the original file")
    # the larger sizes are released under the same keys: only the pixels tell them apart
    if dataset.read_image(0).shape[0] != size:
        raise InputError(
            f"{str(path)!r} holds images of {dataset.read_image(0).shape[0]} px, not of {size} px; "
            "it was renamed: get the original file"
        )
    # the archive is no picture: without `files` nothing takes it for one
    return replace(dataset, card=card, files=())


def fetched(name: str, folder: Path) -> Path | None:
    """Fetch NAME.npz into `folder` where it is one of these sets and not there; return its path."""
    known = {name_of(base, size): (base, size) for base in SETS for size in SIZES}
    # what is there is left as it is, whoever put it there
    if name not in known or (folder / f"{name}.npz").exists():
        return None
    base, size = known[name]
    return download(name, SETS[base].md5.split()[SIZES.index(size)], folder)


def download(name: str, md5: str, folder: Path) -> Path:
    """Fetch NAME.npz into `folder` and return its path; nothing is kept if the checksum is wrong.

    Raises:
        InputError: without a network, or where the file is not the published one.
    """
    path = folder / f"{name}.npz"
    partial_path = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # MEDMNIST_URL: a mirror, for sites that reach no other host
        urllib.request.urlretrieve(os.environ.get("MEDMNIST_URL", URL).format(name), partial_path)
        with partial_path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != md5:
            raise InputError(f"{name}.npz has the MD5 {found}, published is {md5}")
        partial_path.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot fetch {name}.npz ({error}); get it from {URL.format(name)} where there is a "
            f"network and put it into {str(folder)!r}"
        ) from None
    finally:
        partial_path.unlink(missing_ok=True)
    return path


for _base in SETS:
    for _size in SIZES:
        _card = card_of(_base, _size)
        datasets.add(_card.name)(Entry(_card, partial(open_medmnist, _base, _size)))
