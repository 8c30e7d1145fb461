"""`icbm152_tissue`: tissues on axial slices of the ICBM 2009a template, from the nilearn wheel.

Real anatomy without a download, but of one averaged brain: an example, not evidence.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.files import digest
from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, Entry, datasets, stratum

DECODING = 1  # part of the fingerprint: change it with what is made of the files
# Neighbouring slices of one brain are near-copies: alone they would put the same anatomy into
# training and test. Slabs keep them together, but for the two slices at each border.
SLAB = 7
MIN_BRAIN = 0.01  # share of a slice that is brain, else the slice is left out
INSTALL = "pip install 'peft-medical-benchmark[brain]'"
_MAPS = ("t1", "gm", "wm")


def tissues(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return the most probable tissue of each voxel: 0 none, 1 CSF, 2 grey, 3 white matter.

    The maps are probabilities times 255; CSF is what they leave inside the brain (`t1` above 0).
    """
    grey, white = grey.astype(np.int16), white.astype(np.int16)
    likely = np.stack([255 - grey - white, grey, white]).argmax(0) + 1
    return np.where(t1 > 0, likely, 0).astype(np.uint8)


def build(maps: dict[str, np.ndarray], fingerprint: str) -> Dataset:
    """Return the data set of the maps "t1", "gm" and "wm" (X, Y, Z), one image per axial slice."""
    # the whole template fits into memory: slices are views of it
    masks = tissues(maps["t1"], maps["gm"], maps["wm"])
    # the first and last slices are air and skull
    levels = np.flatnonzero((masks > 0).mean((0, 1)) >= MIN_BRAIN)
    return Dataset(
        card=CARD,
        ids=tuple(f"slice{z:03d}" for z in levels),
        labels=np.array([stratum(masks[:, :, z]) for z in levels], np.int64),
        groups=tuple(f"slab{i // SLAB:02d}" for i in range(len(levels))),
        splits=("",) * len(levels),
        fingerprint=fingerprint,
        read_image=lambda i: np.repeat(_slice(maps["t1"], levels[i])[..., None], 3, axis=2),
        read_mask=lambda i: _slice(masks, levels[i]),
    )


def _slice(volume: np.ndarray, level: int) -> np.ndarray:
    """Return one axial slice with the front of the head up."""
    return np.ascontiguousarray(np.rot90(volume[:, :, level]))


def open_icbm152() -> Dataset:
    """Return the data set; nilearn's files are read, nilearn itself is not imported.

    Raises:
        InputError: when nilearn or nibabel is not installed, or the wheel lacks the files.
    """
    paths = [_locate(name) for name in _MAPS]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    try:
        import nibabel
    except ModuleNotFoundError:
        raise InputError(f"{CARD.name} needs the nibabel package; run {INSTALL}") from None
    volumes: list[Any] = [nibabel.load(path) for path in paths]
    maps = {name: np.asanyarray(v.dataobj) for name, v in zip(_MAPS, volumes, strict=True)}
    rules = f"{CARD.name} {DECODING} {SLAB} {digests}"
    return build(maps, digest(rules))


def _locate(name: str) -> Path:
    file = f"nilearn/datasets/data/mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    try:
        path = Path(str(importlib.metadata.distribution("nilearn").locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"{CARD.name} needs the nilearn package; run {INSTALL}") from None
    if not path.is_file():
        raise InputError(f"this nilearn has no {path.name}; run {INSTALL}")
    return path


CARD = Card(
    name="icbm152_tissue",
    task="segmentation",
    classes=("background", "csf", "grey_matter", "white_matter"),
    modality="T1 MRI template (one averaged brain)",
    licence="ICBM 2009a: free use, copyright notice to be kept (McConnell Brain Imaging Centre)",
    citations=(
        Citation(
            ("Fonov, Vladimir", "Evans, Alan C.", "Botteron, Kelly", "Almli, C. Robert", OTHERS),
            "Unbiased average age-appropriate atlases for pediatric studies",
            2011,
            "NeuroImage 54(1):313-327",
            "article",
            doi="10.1016/j.neuroimage.2010.07.033",
        ),
    ),
    url="https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009",
    display="ICBM 152",
    grouping="inferred",
    group_source="slabs of one averaged brain, which is in training and test alike",
    group_key=f"slab of {SLAB} slices",
)
datasets.add(CARD.name)(Entry(CARD, functools.cache(lambda folder: open_icbm152())))
