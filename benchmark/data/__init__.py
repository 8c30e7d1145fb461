"""Data sets: registered ones, and your own as a manifest, a folder tree or an archive."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.files import data_root
from benchmark.core.registry import InputError, discover, unknown
from benchmark.core.typed import typed
from benchmark.data.base import IGNORE, Card, Dataset, Entry, Split, datasets
from benchmark.data.cache import Arrays, decoded
from benchmark.data.readers.declared import in_any_case
from benchmark.data.readers.folder import open_folder
from benchmark.data.readers.manifest import open_manifest
from benchmark.data.readers.npz import open_npz
from benchmark.data.split import split

__all__ = [
    "IGNORE",
    "Arrays",
    "Card",
    "Dataset",
    "Entry",
    "Split",
    "datasets",
    "decoded",
    "located",
    "open_dataset",
    "refuse_in_tree",
    "split",
]

discover("benchmark.data.sets")


def located(spec: str, root: Path | None = None) -> str:
    """Return `spec` with the absolute folder of a named set that lies on the disk: NAME@FOLDER.

    `root` holds a folder per named set; left out, it is `files.data_root()`.
    """
    name, _, folder = spec.partition("@")
    if name not in datasets or datasets[name].embedded:
        return spec
    if folder:
        return f"{name}@{Path(folder).expanduser().resolve()}"
    # sets of one download share its folder; one that was given a folder of its own keeps it
    root = (root or data_root()).expanduser()
    own, shared = root / name, root / (datasets[name].card.folder or name)
    return f"{name}@{(own if own.is_dir() else shared).resolve()}"


def open_dataset(spec: str) -> Dataset:
    """Return the data set of a registered name, or of a path to a .csv, a folder or an .npz.

    A named set is looked for in `files.data_root()`/NAME, or where NAME@FOLDER says.

    Raises:
        InputError: for an unknown name, a missing file, or data that cannot be used as it is.
    """
    dataset = _opened(spec)
    # records, tables and terminals show these names
    card = dataset.card
    typed(tuple[str, ...], (card.name, card.title, *card.classes), f"the names of {spec!r}")
    return dataset


def _opened(spec: str) -> Dataset:
    name, _, folder = located(spec).partition("@")
    if name in datasets:
        entry, place = datasets[name], Path(folder)
        if not entry.embedded and not place.is_dir():
            card = entry.card
            raise InputError(
                f"the data of {name!r} is not in {folder!r}; get {card.get} from {card.url} "
                f"(licence: {card.licence}) and put it there, or name its folder: {name}@FOLDER"
            )
        return entry.open(place)
    path = Path(spec).expanduser()  # in quotation marks or TOML no shell expands ~
    if path.is_dir():
        manifest = in_any_case(path / "manifest.csv")
        return open_folder(path) if manifest is None else open_manifest(manifest)
    openers = {".csv": open_manifest, ".npz": open_npz}
    if path.is_file() and path.suffix.lower() in openers:
        return openers[path.suffix.lower()](path)
    if path.exists():
        raise InputError(
            f"{spec!r} is a single file of another kind; give a manifest.csv, a folder or an .npz"
        )
    if "/" in spec or path.suffix in openers:
        raise InputError(f"there is no data at {spec!r}; give a manifest.csv, a folder or an .npz")
    raise unknown("data set", spec, datasets)


def refuse_in_tree(folder: Path, spec: str, flag: str) -> None:
    """Raise InputError where `folder`, to be written into, lies in the tree of classes `spec`.

    Every picture below a folder of classes is read: those that are written there would be, too.
    """
    source = Path(spec)
    is_tree = source.is_dir() and in_any_case(source / "manifest.csv") is None
    if is_tree and folder.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"{flag} {str(folder)!r} lies inside the data {spec!r}, whose folders are classes; "
            "choose another folder"
        )
