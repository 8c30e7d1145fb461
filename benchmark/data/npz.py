"""A MedMNIST archive: `train_images`, `train_labels`, and the same for `val` and `test`."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from benchmark.data.base import Card, Dataset
from benchmark.data.table import SPLITS, class_names
from benchmark.registry import InputError

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
    labels = np.concatenate([arrays[f"{s}_labels"].ravel() for s in SPLITS])
    splits = tuple(s for s in SPLITS for _ in arrays[f"{s}_labels"])
    classes, _ = class_names((str(v) for v in np.unique(labels)), str(path))
    numbers = np.searchsorted(np.unique(labels), labels)

    def read_image(index: int) -> np.ndarray:
        image = images[index]
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)

    ids = tuple(f"{split}/{i}" for i, split in enumerate(splits))
    return Dataset(
        card=_card(path.stem, classes),
        ids=ids,
        labels=numbers.astype(np.int64),
        groups=ids,
        splits=splits,
        fingerprint=_fingerprint(images, numbers, splits),
        read_image=read_image,
    )


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
    if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{split}_labels of {path!r} is {labels.dtype} {labels.shape}; it must be one integer "
            "per image (multi-label sets are not supported)"
        )


def _card(name: str, classes: tuple[str, ...]) -> Card:
    return Card(
        name=name,
        task="classification",
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
