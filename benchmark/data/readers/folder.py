"""A class-per-folder tree: `CLASS/*.png`, or `train|val|test/CLASS/*.png`.

Files are known by their first bytes, not by their endings. What is left out is counted and said.
Folders inside a class are patients: their images stay together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.core.registry import InputError
from benchmark.data.base import Dataset
from benchmark.data.readers import images, table, volumes
from benchmark.data.readers.declared import NAME, Declaration, beside
from benchmark.data.readers.manifest import from_rows
from benchmark.data.readers.table import Row

PARTS = {
    **dict.fromkeys(("train", "training", "train_set", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "test_set", "testset"), "test"),
}
_PIXELS = frozenset(("images", "image", "imgs", "img"))
_MASKS = frozenset(
    [
        "masks",
        "mask",
        "labels",
        "label",
        "segmentations",
        "segmentation",
        "annotations",
        "annotation",
        "gt",
        "groundtruth",
        "ground_truth",
    ]
)
_MASK_ENDS = ("mask", "seg", "segmentation", "gt", "label", "annotation", "groundtruth")
_MANIFEST = "list images and masks in a manifest.csv with the columns image and mask"


def open_folder(path: Path) -> Dataset:
    """Return the data set of a tree; its name is the folder's, its classes are the subfolders'.

    Raises:
        InputError: a tree of another kind, a class without a readable image, mixed levels.
    """
    declared = beside(path)
    if declared.group not in ("", "folder", "image"):
        raise InputError(
            f'{declared.origin!r}: group = {declared.group!r} must be "folder" or "image" in a '
            "folder tree"
        )
    tree = _Tree(path, declared)
    tops = tree.folders(path)
    parts = {top: PARTS[name] for top in tops if (name := top.name.casefold()) in PARTS}
    if parts and len(parts) < len(tops):
        others = [top.name for top in tops if top not in parts]
        raise InputError(
            f"{str(path)!r} mixes split folders {sorted(top.name for top in parts)} with others "
            f"{others}; use either splits or classes"
        )
    for one, part in parts.items():
        if twice := [top.name for top, other in parts.items() if other == part and top != one]:
            raise InputError(
                f"{str(path)!r} has two folders for {part}: {one.name!r} and {twice[0]!r}"
            )
    if parts:
        found = [row for top, part in parts.items() for row in tree.rows(tree.folders(top), part)]
    else:
        found = list(tree.rows(tops, ""))
    rows = tree.grouped(found)
    dataset = from_rows(rows, path.resolve().name, declared, str(path))
    card = dataset.card
    if card.grouping == "given":
        card = replace(card, group_key="folder inside a class")
    else:
        card = replace(card, group_source="a folder of classes names no patients")
    return replace(dataset, card=card, notes=(*dataset.notes, *tree.notes()))


@dataclass
class _Tree:
    """One walk over a tree: what was taken, and what was left out (`skipped`, by kind)."""

    root: Path
    declared: Declaration
    skipped: Counter[str] = field(default_factory=Counter)

    def folders(self, base: Path) -> list[Path]:
        """Return the folders in `base` that can be parts or classes; the others are counted."""
        found = []
        for child in sorted(base.iterdir()):
            if child.name == NAME:
                continue
            if not child.is_dir():
                if not _hidden(child.name):
                    self.skipped[f"files beside the folders of {base.name!r}"] += 1
            elif _hidden(child.name):
                self.skipped["hidden folders"] += 1
            elif _is_runs(child):
                self.skipped[f"{child.name}/, a folder of runs"] += 1
            else:
                found.append(child)
        names = {child.name.casefold() for child in found}
        if (names & _MASKS and names & _PIXELS) or (names and names <= _MASKS | _PIXELS):
            raise InputError(
                f"{str(base)!r} has the folders {sorted(names)}: images and masks, no classes; "
                f"{_MANIFEST}"
            )
        return found

    def rows(self, classes: list[Path], split: str) -> Iterator[Row]:
        """Yield the images of each class folder."""
        for folder in classes:
            label, before = table.clean(folder.name), self.skipped.copy()
            rows = list(self._images(folder, label, split))
            if not rows:
                held = ", ".join(f"{n} {kind}" for kind, n in (self.skipped - before).items())
                raise InputError(
                    f"the class folder {str(folder)!r} holds no image ({held or 'it is empty'}); "
                    "remove it, or convert its files"
                )
            yield from rows

    def _images(self, folder: Path, label: str, split: str) -> Iterator[Row]:
        for place, inside, names in os.walk(folder):
            shown = [name for name in inside if not _hidden(name)]
            self.skipped["hidden folders"] += len(inside) - len(shown)
            linked = [name for name in shown if (Path(place) / name).is_symlink()]
            self.skipped["linked folders"] += len(linked)
            inside[:] = sorted(set(shown) - set(linked))
            if masks := [name for name in inside if name.casefold() in _MASKS]:
                raise InputError(
                    f"the class folder {place!r} holds {masks[0]!r}: masks are no images of a "
                    f"class; {_MANIFEST}"
                )
            _check_pairs(place, names)
            for name in sorted(names):
                path = Path(place) / name
                if _hidden(name):
                    self.skipped["hidden files"] += 1
                elif volumes.is_volume(path) or images.is_picture(path) or _claims(path):
                    below = table.clean(path.relative_to(self.root).as_posix())
                    patient = path.relative_to(folder).parts[:-1]
                    yield Row(below, path, label, group="/".join(patient[:1]), split=split)
                else:
                    self.skipped[f"{path.suffix.lower() or 'other'} files"] += 1

    def grouped(self, rows: list[Row]) -> list[Row]:
        """Return `rows` with the folder inside a class as the group; a row without one is alone.

        One folder of the same name in every class (CLASS/images/) sorts files, not patients.
        """
        folders = {row.group for row in rows} - {""}
        inside: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            inside.setdefault((row.split, row.label), set()).add(row.group)
        sorts = all(len(names) == 1 for names in inside.values()) and len(folders) == 1
        named = {name.casefold() for name in folders} <= _PIXELS
        if self.declared.group == "image" or (self.declared.group != "folder" and (sorts or named)):
            return [replace(row, group="") for row in rows]
        parts: dict[str, str] = {}
        for row in rows:
            if row.group and parts.setdefault(row.group, row.split) != row.split:
                raise InputError(
                    f"the patient folder {row.group!r} of {str(self.root)!r} is in the parts "
                    f"{parts[row.group]!r} and {row.split!r}; rename it if it is another patient, "
                    'or declare group = "image" in dataset.toml'
                )
        return rows

    def notes(self) -> Iterator[str]:
        """Yield one sentence on what was left out, if anything was."""
        left = [f"{count} {kind}" for kind, count in sorted(self.skipped.items()) if count]
        if left:
            yield f"left out: {', '.join(left)}"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _is_runs(folder: Path) -> bool:
    """Return whether a folder holds the runs of this program: its pictures are reports."""
    return (folder / "plans").is_dir() and any((folder / "plans").glob("*.json"))


def _claims(path: Path) -> bool:
    """Return whether a file is called a picture: where it is none, that is an error to report."""
    return path.suffix.lower() in images.SUFFIXES | images.dicom.SUFFIXES


def _check_pairs(place: str, names: list[str]) -> None:
    """Raise InputError where NAME.png lies beside NAME_mask.png: one of them is no photograph."""
    stems = {Path(name).stem.lower() for name in names}
    for stem in sorted(stems):
        for end in _MASK_ENDS:
            for mark in ("_", "-", " ", "."):
                if stem.endswith(mark + end) and stem[: -len(mark + end)] in stems:
                    raise InputError(
                        f"{place!r} holds {stem[: -len(mark + end)]!r} and {stem!r}: a mask is no "
                        f"image of a class; move the masks elsewhere, or {_MANIFEST}"
                    )
