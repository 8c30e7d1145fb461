"""Decoded images at one size, kept as memory-mapped uint8 arrays that all processes share."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.core.files import usual_rights
from benchmark.core.registry import InputError
from benchmark.data.base import Dataset
from benchmark.data.readers.images import resize

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
VERSION = 2  # of the decoding: a change of `resize` must change it


@dataclass(frozen=True)
class Arrays:
    """`images` (n, S, S, C) and, in segmentation, `masks` (n, S, S); uint8, read-only.

    C is 1 where all images are grey, else 3.
    """

    images: np.ndarray
    masks: np.ndarray | None


def decoded(dataset: Dataset, size: int, root: Path) -> Arrays:
    """Return all images squashed to `size` x `size`, decoded once per content and size.

    The cache below `root` is keyed by the data fingerprint; a damaged or half-written one is made
    again.
    """
    folder = root / f"{dataset.card.name}-{dataset.fingerprint}-{size}-v{VERSION}"
    if not _valid(folder, len(dataset)):
        _make(dataset, size, folder)
    has_masks = dataset.read_mask is not None
    masks = np.load(folder / "masks.npy", mmap_mode="r") if has_masks else None
    return Arrays(np.load(folder / "images.npy", mmap_mode="r"), masks)


def _valid(folder: Path, count: int) -> bool:
    """Return whether the cache is whole: its files have the noted checksums."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        return meta["count"] == count and all(
            checksum(folder / name) == value for name, value in meta["checksums"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _make(dataset: Dataset, size: int, folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    except OSError as error:
        raise _unwritable(dataset, size, folder, error) from None
    try:
        try:
            names = _write(dataset, size, temporary)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise _unwritable(dataset, size, folder, error) from None
        checksums = {name: checksum(temporary / name) for name in names}
        meta = {"count": len(dataset), "checksums": checksums}
        (temporary / "meta.json").write_text(json.dumps(meta))
        if folder.exists() and not _valid(folder, len(dataset)):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            usual_rights(temporary)
            temporary.rename(folder)
        except OSError:  # another process was faster: its cache is as good
            if not _valid(folder, len(dataset)):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(dataset: Dataset, size: int, folder: Path, error: OSError) -> InputError:
    channels = 3 if dataset.read_mask is None else 4
    needed = len(dataset) * size * size * channels / 2**20
    return InputError(
        f"cannot write decoded images to {str(folder.parent)!r} ({error.strerror}); they take "
        f"{needed:.0f} MiB: free some space there, or name another folder with --runs"
    )


class _ColourError(Exception):
    """Not all images are grey."""


def _write(dataset: Dataset, size: int, folder: Path) -> list[str]:
    def image(index: int) -> np.ndarray:
        return resize(dataset.read_image(index), size)

    def grey(index: int) -> np.ndarray:
        found = image(index)
        if (found != found[..., :1]).any():
            raise _ColourError
        return found[..., :1]

    names, count = ["images.npy"], len(dataset)
    try:
        _fill(folder / names[0], (count, size, size, 1), grey)
    except _ColourError:  # mostly the first image says so: what is read twice is little
        _fill(folder / names[0], (count, size, size, 3), image)
    if (read_mask := dataset.read_mask) is not None:
        names.append("masks.npy")
        _fill(
            folder / names[1],
            (count, size, size),
            lambda index: resize(read_mask(index), size, nearest=True),
        )
    return names


def _fill(path: Path, shape: tuple[int, ...], read: Callable[[int], np.ndarray]) -> None:
    """Write an array of bytes item by item: a memory map on a full disk kills the process."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for index in range(shape[0]):
            stream.write(read(index).astype(np.uint8, copy=False).tobytes())


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file, read in blocks."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
