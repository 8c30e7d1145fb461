"""Data sets: registered ones, and your own as a manifest, a folder tree or an archive."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.base import IGNORE, Card, Dataset, Entry, Split, datasets
from benchmark.data.cache import Arrays, decoded
from benchmark.data.folder import open_folder
from benchmark.data.manifest import open_manifest
from benchmark.data.npz import open_npz
from benchmark.data.split import split
from benchmark.registry import InputError, discover, unknown

__all__ = [
    "IGNORE",
    "Arrays",
    "Card",
    "Dataset",
    "Entry",
    "Split",
    "datasets",
    "decoded",
    "open_dataset",
    "split",
]

discover(__name__)


def open_dataset(spec: str) -> Dataset:
    """Return the data set of a registered name, or of a path to a .csv, a folder or an .npz.

    Raises:
        InputError: for an unknown name, a missing file, or data that cannot be used as it is.
    """
    if spec in datasets:
        return datasets[spec].open()
    path = Path(spec)
    if path.is_dir():
        manifest = path / "manifest.csv"
        return open_manifest(manifest) if manifest.exists() else open_folder(path)
    openers = {".csv": open_manifest, ".npz": open_npz}
    if path.is_file() and path.suffix in openers:
        return openers[path.suffix](path)
    if "/" in spec or path.suffix in openers:
        raise InputError(f"there is no data at {spec!r}; give a manifest.csv, a folder or an .npz")
    raise unknown("data set", spec, datasets)
