"""`pcam`: metastases in patches of lymph node sections (PatchCamelyon), as HDF5."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, Entry, datasets
from benchmark.data.readers import layout
from benchmark.data.readers.digests import digests

CARD = Card(
    name="pcam",
    task="classification",
    classes=("normal", "tumour"),
    modality="histology patches, 96 x 96",
    licence="CC0",
    citations=(
        Citation(
            ("Veeling, Bastiaan S.", "Linmans, Jasper", "Winkens, Jim", OTHERS),
            "Rotation Equivariant CNNs for Digital Pathology",
            2018,
            "Medical Image Computing and Computer Assisted Intervention (MICCAI)",
            "inproceedings",
            arxiv="1806.03962",
            doi="10.1007/978-3-030-00934-2_24",
        ),
    ),
    url="https://github.com/basveeling/pcam",
    display="PCam",
    group_source="the slide of a patch is not read",
    counts={"images": 327680},
    official="train (262,144), val (32,768) and test (32,768); slides are not given",
    get="camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5, unpacked",
)
_PARTS = {"train": "train", "valid": "val", "test": "test"}
_FILE = "camelyonpatch_level_2_split_{}_{}.h5"


def open_pcam(folder: Path) -> Dataset:
    """Return the data set; patches are read from the files when asked for."""
    images = {p: layout.one_of(folder, _FILE.format(p, "x")) for p in _PARTS}
    targets = {p: layout.one_of(folder, _FILE.format(p, "y")) for p in _PARTS}
    labels = {p: _read(targets[p], "y")[:].reshape(-1).astype(np.int64) for p in _PARTS}
    places = [(p, i) for p in _PARTS for i in range(len(labels[p]))]
    for part in _PARTS:
        if len(_read(images[part], "x")) != len(labels[part]):
            raise InputError(f"{str(images[part])!r} and its labels differ in length")
    known = digests([*images.values(), *targets.values()])
    ids = tuple(f"{_PARTS[p]}/{i}" for p, i in places)
    return Dataset(
        card=CARD,
        ids=ids,
        labels=np.concatenate(list(labels.values())),
        groups=ids,
        splits=tuple(_PARTS[p] for p, _ in places),
        fingerprint=layout.fingerprint(CARD.name, *known.values()),
        read_image=lambda index: _read(images[places[index][0]], "x")[places[index][1]],
    )


@functools.lru_cache(maxsize=6)
def _read(path: Path, key: str) -> Any:
    """Return the array `key` of an HDF5 file, not yet read."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise InputError(
            f"reading {path.name} needs h5py; run pip install 'peft-medical-benchmark[pcam]'"
        ) from None
    try:
        return h5py.File(path, "r")[key]
    except (OSError, KeyError) as error:
        raise InputError(f"cannot read {str(path)!r} ({error})") from None


datasets.add(CARD.name)(Entry(CARD, open_pcam))
