"""A MedMNIST archive: `train_images`, `train_labels`, and the same for `val` and `test`.

Labels are one integer per image, or K columns of 0 and 1: findings, any number per image.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset
from benchmark.data.readers.table import SPLITS, class_names

ORDINAL = {"retinamnist"}  # grades of diabetic retinopathy; the other sets' classes have no order


def open_npz(path: Path) -> Dataset:
    """Return the data set of an archive with its official splits.

    Raises:
        InputError: for a missing array, pickled objects, or labels that are not one per image.
    """
    arrays = _arrays(path)
    for split in SPLITS:
        _check(arrays, split, str(path))
    images = np.concatenate([arrays[f"{s}_images"] for s in SPLITS])
    labels = np.concatenate([arrays[f"{s}_labels"] for s in SPLITS])
    splits = tuple(s for s in SPLITS for _ in arrays[f"{s}_labels"])
    classes, numbers = _numbered(labels, str(path))

    def read_image(index: int) -> np.ndarray:
        image = images[index]
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)

    ids = tuple(f"{split}/{i}" for i, split in enumerate(splits))
    return Dataset(
        card=_card(path.stem, classes, _is_multilabel(labels)),
        ids=ids,
        labels=numbers.astype(np.int64),
        groups=ids,
        splits=splits,
        fingerprint=_fingerprint(images, numbers, splits),
        read_image=read_image,
    )


def _is_multilabel(labels: np.ndarray) -> bool:
    return labels.ndim == 2 and labels.shape[1] > 1


def _numbered(labels: np.ndarray, path: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return (classes, class numbers), or (findings, bit sets) of columns of 0 and 1."""
    if _is_multilabel(labels):
        count = labels.shape[1]
        return tuple(map(str, range(count))), labels.astype(np.int64) @ (1 << np.arange(count))
    values, numbers = np.unique(labels.ravel(), return_inverse=True)
    return class_names(map(str, values), path)[0], numbers


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {
                f"{s}_{kind}": archive[f"{s}_{kind}"]
                for s in SPLITS
                for kind in ("images", "labels")
            }
    except KeyError as error:
        raise InputError(f"{str(path)!r} is no MedMNIST archive: {error.args[0]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot read {str(path)!r} ({error}); archives with pickled objects are refused"
        ) from None


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


def _card(name: str, classes: tuple[str, ...], multilabel: bool) -> Card:
    return Card(
        name=name,
        task="multilabel" if multilabel else "classification",
        classes=classes,
        modality="MedMNIST",
        licence="CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41",
        url="https://medmnist.com",
        ordinal=name.partition("_")[0] in ORDINAL,
    )


def _fingerprint(images: np.ndarray, labels: np.ndarray, splits: tuple[str, ...]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels.astype(np.int64).tobytes() + repr(splits).encode())
    return digest.hexdigest()[:16]
