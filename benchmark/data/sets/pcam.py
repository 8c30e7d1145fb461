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
    grouping="given",
    group_key="slide",
    counts={"images": 327680},
    official="train (262,144), val (32,768) and test (32,768)",
    get=(
        "camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5.gz and _meta.csv, which names "
        "the slide of each patch"
    ),
)
_PARTS = {"train": "train", "valid": "val", "test": "test"}
# The publisher's names; a popular copy has `training_split.h5` beside the publisher's labels.
_NAMES = {kind: f"camelyonpatch_level_2_split_{{}}_{kind}" for kind in ("x.h5", "y.h5", "meta.csv")}
_COPY = {"train": "training", "valid": "validation", "test": "test"}  # `training_split.h5`


def open_pcam(folder: Path) -> Dataset:
    """Return the data set; patches are read from the files when asked for.

    Groups are slides where the `_meta.csv` files are there; without them the card says that
    patches of one slide cannot be distinguished.
    """
    download = layout.Download(CARD, folder)
    images = {
        part: download.file(_NAMES["x.h5"].format(part), f"{_COPY[part]}_split.h5")
        for part in _PARTS
    }
    targets = {part: download.file(_NAMES["y.h5"].format(part)) for part in _PARTS}
    labels = {p: _read(targets[p], "y")[:].reshape(-1).astype(np.int64) for p in _PARTS}
    places = [(p, i) for p in _PARTS for i in range(len(labels[p]))]
    for part in _PARTS:
        if len(_read(images[part], "x")) != len(labels[part]):
            raise InputError(f"{str(images[part])!r} and its labels differ in length")
    meta = [download.find(_NAMES["meta.csv"].format(part)) for part in _PARTS]
    tables = [path for path in meta if path is not None]
    ids = tuple(f"{_PARTS[p]}/{i}" for p, i in places)
    card, groups = CARD, tuple[str, ...]()
    if len(tables) == len(_PARTS):
        for part, path in zip(_PARTS, tables, strict=True):
            lines = layout.table_rows(path, ("wsi",))
            if len(lines) != len(labels[part]):
                raise InputError(
                    f"{str(path)!r} has {len(lines)} rows for {len(labels[part])} patches; get it "
                    "again"
                )
            groups += tuple(line["wsi"] for line in lines)
    else:
        card = layout.without_groups(CARD, "the slides are named in *_meta.csv, which is absent")
        groups, tables = ids, []
    known = digests([*images.values(), *targets.values(), *tables])
    return Dataset(
        card=card,
        ids=ids,
        labels=np.concatenate(list(labels.values())),
        groups=groups,
        splits=tuple(_PARTS[p] for p, _ in places),
        fingerprint=layout.fingerprint(CARD.name, *known.values()),
        # no `files`: forked processes must not share an HDF5 handle, so one process decodes
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
