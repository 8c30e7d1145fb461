"""A MedMNIST archive: `train_images`, `train_labels`, and the same for `val` and `test`.

Labels are one integer per image, or K columns of 0 and 1: findings, any number per image.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.files import cache_folder, digest, write_text, written
from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, many
from benchmark.data.readers.declared import beside, completed
from benchmark.data.readers.digests import digests
from benchmark.data.readers.table import SPLITS, class_names

MEDMNIST = Citation(
    ("Yang, Jiancheng", "Shi, Rui", "Wei, Donglai", "Liu, Zequan", OTHERS),
    "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification",
    2023,
    "Scientific Data 10:41",
    "article",
    arxiv="2110.14795",
    doi="10.1038/s41597-022-01721-8",
)
BLOCK = 1024  # images that are hashed at once
MOST_IN_MEMORY = 1 << 30  # bytes of one array, where no cache can be written
ORDINAL = {"retinamnist"}  # grades of diabetic retinopathy; the other sets' classes have no order


def open_npz(path: Path) -> Dataset:
    """Return the data set of an archive with its official splits.

    Raises:
        InputError: for a missing array, pickled objects, or labels that are not one per image.
    """
    declared = beside(path)
    arrays, others = _arrays(path)
    # all parts before any is hashed, which takes minutes
    for split in SPLITS:
        _check(arrays, split, str(path))
    shapes = {split: arrays[f"{split}_images"].shape[1:] for split in SPLITS}
    if len(set(shapes.values())) > 1 or 0 in shapes["train"]:
        raise InputError(f"the images of {str(path)!r} have the shapes {shapes}; save them alike")
    # never concatenated: the 224 px sets hold up to 16 GB, and a copy would take as much again
    parts = [arrays[f"{s}_images"] for s in SPLITS]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    labels = np.concatenate([arrays[f"{s}_labels"] for s in SPLITS])
    splits = tuple(s for s in SPLITS for _ in arrays[f"{s}_labels"])
    multilabel = _is_multilabel(labels)
    if multilabel and not declared.multilabel and (labels.sum(1) == 1).all():
        labels, multilabel = labels.argmax(1), False  # one column each: the class, one-hot
    classes, numbers = _numbered(labels, multilabel, str(path))
    if declared.classes:
        if len(declared.classes) != len(classes):
            raise InputError(
                f"{declared.origin!r} names {len(declared.classes)} classes; {str(path)!r} has "
                f"{len(classes)}"
            )
        classes = declared.classes
    base = path.stem.partition("_")[0]  # `dermamnist_224` is the set `dermamnist`
    # the numbers of the published sets are names, but for those of ORDINAL; anybody else's are
    # grades, as in a manifest
    grades = not multilabel and len(classes) > 2 and (base in ORDINAL or not base.endswith("mnist"))
    ordinal = grades if declared.ordinal is None else declared.ordinal
    fingerprint = _fingerprint(path, parts, numbers, splits)
    if declared.classes or declared.ordinal is not None:
        fingerprint = digest(f"{fingerprint} {classes} {ordinal}")

    def read_image(index: int) -> np.ndarray:
        part = int(np.searchsorted(starts, index, side="right")) - 1
        image = np.asarray(parts[part][index - starts[part]])
        # models take three channels; the cache keeps one where all three are the same
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)

    kind = {"multilabel": True} if multilabel else {"ordinal": ordinal}
    # numbers within the part: an archive has no other names
    ids = tuple(f"{split}/{i}" for i, split in enumerate(splits))
    return Dataset(
        card=_card(path.stem, classes, multilabel, ordinal),
        ids=ids,
        labels=numbers.astype(np.int64),
        groups=ids,
        splits=splits,
        fingerprint=fingerprint,
        read_image=read_image,
        # one of them may name the patients
        notes=(f"left out: {many(len(others), 'array')} ({', '.join(others)})",) if others else (),
        declaration=completed(declared, classes=classes, **kind),
    )


def _is_multilabel(labels: np.ndarray) -> bool:
    return labels.ndim == 2 and labels.shape[1] > 1


def _numbered(
    labels: np.ndarray, multilabel: bool, path: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return (classes, class numbers), or (findings, bit sets) of columns of 0 and 1."""
    if multilabel:
        if not labels.any():
            raise InputError(f"no image of {path!r} has a finding")
        count = labels.shape[1]
        return tuple(map(str, range(count))), labels.astype(np.int64) @ (1 << np.arange(count))
    values, numbers = np.unique(labels.ravel(), return_inverse=True)
    if values.min(initial=0) < 0:  # -1 would be the first class, and shift the others
        raise InputError(
            f"the labels of {path!r} hold {values[0]}, which often means unknown; leave such "
            "images out"
        )
    return class_names(map(str, values), path)[0], numbers


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the six arrays of an archive, memory-mapped where it can be, and the names of others.

    They are kept by the digest of the archive: time and size of another one may be the same.
    """
    place = cache_folder() / "npz" / digests([path])[path]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [f"{s}_{kind}" for s in SPLITS for kind in ("images", "labels")]
            for name in names:
                if f"{name}.npy" not in archive.namelist():
                    raise InputError(f"{str(path)!r} is no MedMNIST archive: it has no {name}")
            others = {name.removesuffix(".npy") for name in archive.namelist()} - set(names)
            return {name: _member(archive, place, name) for name in names}, sorted(others)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot read {str(path)!r} ({error}); archives with pickled objects are refused"
        ) from None


def _member(archive: zipfile.ZipFile, folder: Path, name: str) -> np.ndarray:
    """Return one array: unpacked once into `folder` and mapped, or read where that cannot be.

    Compressed members cannot be mapped in place, and every process of a sweep opens the archive.
    """
    place = folder / f"{name}.npy"
    if not place.exists():
        member = archive.getinfo(f"{name}.npy")
        try:
            with (
                written(place) as temporary,
                archive.open(member) as source,
                temporary.open("wb") as target,
            ):
                # zipfile compares the checksum when it comes to the end
                shutil.copyfileobj(source, target, 1 << 22)
        except InputError:
            # a cache that cannot be written: 28 px fit into memory, 224 px would take 16 GB
            if member.file_size > MOST_IN_MEMORY:
                raise
            with archive.open(member) as stream:
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    return np.asanyarray(np.load(place, mmap_mode="r", allow_pickle=False))


def _check(arrays: dict[str, np.ndarray], split: str, path: str) -> None:
    """Raise InputError unless there is one 2-D image and one integer per row of this split."""
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    flat = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not flat:
        raise InputError(
            f"{split}_images of {path!r} is {images.dtype} {images.shape}; it must be uint8 "
            "(n, H, W) or (n, H, W, 3), as in the 2-D sets"
        )
    columns = arrays["train_labels"].shape[1:]
    fits = labels.ndim < 3 and labels.shape == (len(images), *columns)
    binary = not _is_multilabel(labels) or (
        labels.shape[1] < 63 and set(np.unique(labels)) <= {0, 1}
    )
    if not (fits and binary) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{split}_labels of {path!r} is {labels.dtype} {labels.shape}; it must be one integer "
            "per image, or up to 62 columns of 0 and 1 for findings, the same in all parts"
        )


def _card(name: str, classes: tuple[str, ...], multilabel: bool, ordinal: bool) -> Card:
    return Card(
        name=name,
        task="multilabel" if multilabel else "classification",
        classes=classes,
        modality="MedMNIST",
        licence="CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)",
        citations=(MEDMNIST,),
        url="https://medmnist.com",
        group_source="the archives have no patient numbers",
        ordinal=ordinal,
    )


def _fingerprint(
    path: Path, parts: Sequence[np.ndarray], labels: np.ndarray, splits: tuple[str, ...]
) -> str:
    """Return a hash over images, labels and splits; kept by the digest of the archive."""
    place = cache_folder() / "npz" / f"{digests([path])[path]}.txt"
    with contextlib.suppress(OSError):
        return place.read_text()
    total = hashlib.sha256()
    for part in parts:
        for start in range(0, len(part), BLOCK):
            total.update(np.ascontiguousarray(part[start : start + BLOCK]).data)
    total.update(labels.astype(np.int64).tobytes() + repr(splits).encode())
    value = total.hexdigest()[:16]
    with contextlib.suppress(OSError, InputError):
        write_text(place, value)
    return value
