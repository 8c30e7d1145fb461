"""A class-per-folder tree: `CLASS/*.png`, or `train|val|test/CLASS/*.png`.

Files are known by their first bytes, not by their endings. What is left out is counted and said.
Folders inside a class are patients: their images stay together.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.core.registry import InputError
from benchmark.core.spelling import clean
from benchmark.data.base import Dataset, many
from benchmark.data.readers import images, volumes
from benchmark.data.readers.declared import NAME, PATIENT, Declaration, beside
from benchmark.data.readers.layout import is_hidden, stem
from benchmark.data.readers.manifest import from_rows
from benchmark.data.readers.table import Row

# Names of parts that copies of data sets have, in any case.
PARTS = {
    **dict.fromkeys(("train", "training", "train_set", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "test_set", "testset"), "test"),
}
# Names of folders that sort files by what they are, letters only: images and masks, not classes.
# With -Tr and -Ts they are those of nnU-Net and the Medical Segmentation Decathlon.
_ENDS = ("", "tr", "ts", "train", "test", "val")
_PIXELS = frozenset(
    name + end for name in ("images", "image", "imgs", "img", "original") for end in _ENDS
)
_MASKS = frozenset(
    name + end
    for name in (
        *("masks", "mask", "labels", "label", "segmentations", "segmentation"),
        *("annotations", "annotation", "gt", "gts", "groundtruth", "groundtruths"),
    )
    for end in _ENDS
)
# `x_mask.png` beside `x.png`: as an image of a class it would show the answer.
_MASK_ENDS = ("mask", "seg", "segmentation", "gt", "label", "annotation", "groundtruth")
_MANIFEST = "list images and masks in a manifest.csv with the columns image and mask"


def open_folder(path: Path) -> Dataset:
    """Return the data set of a tree; its name is the folder's, its classes are the subfolders'.

    Raises:
        InputError: a tree of another kind, a class without a readable image, mixed levels.
    """
    declared = beside(path)
    if declared.group not in ("", "folder", "image", PATIENT):
        raise InputError(
            f'{declared.origin!r}: group = {declared.group!r} must be "folder", "image" or '
            f'"{PATIENT}" (of DICOM files) in a folder tree'
        )
    tree = _Tree(path, declared)
    tops = tree.folders(path)
    parts = {top: PARTS[name] for top in tops if (name := top.name.casefold()) in PARTS}
    # a class that is called "test" is possible, a class beside train/ and val/ is a mistake
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
    if card.grouping != "unknown" and declared.group != PATIENT:
        card = replace(card, group_key="folder inside a class")
    elif card.grouping == "unknown":
        card = replace(card, group_source="a folder of classes names no patients")
    return replace(dataset, card=card, notes=(*dataset.notes, *tree.notes()))


@dataclass
class _Tree:
    """One walk over a tree; `skipped` counts what was left out, by kind: a noun and more."""

    root: Path
    declared: Declaration
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def folders(self, base: Path) -> list[Path]:
        """Return the folders in `base` that can be parts or classes; the others are counted."""
        found = []
        for child in sorted(base.iterdir()):
            if child.name.lower() == NAME:  # the declaration, which has been read
                continue
            if not child.is_dir():
                if not is_hidden(child.name):
                    self.skipped["file", f" beside the folders of {base.name!r}"] += 1
            elif is_hidden(child.name):
                self.skipped["hidden folder", ""] += 1
            elif any((child / "plans").glob("*.json")):
                # runs of this program, whose pictures are reports
                self.skipped["folder of runs", f" ({child.name}/)"] += 1
            else:
                found.append(child)
        kinds = {_letters(child.name) for child in found}
        if (kinds & _MASKS and kinds & _PIXELS) or (kinds and kinds <= _MASKS | _PIXELS):
            names = ", ".join(repr(child.name) for child in found)
            tables = sorted(base.glob("*.csv"))
            if tables:
                raise InputError(
                    f"{str(base)!r} has the folders {names} and no manifest.csv; if "
                    f"{tables[0].name} lists the images, name it: {str(tables[0])!r}"
                )
            raise InputError(
                f"{str(base)!r} has the folders {names}: images and masks, no classes; "
                f"{_MANIFEST}, or open it as a named set (`data list`): NAME@FOLDER"
            )
        return found

    def rows(self, classes: list[Path], split: str) -> Iterator[Row]:
        """Yield the images of each class folder."""
        for folder in classes:
            label, before = clean(folder.name), self.skipped.copy()
            rows = list(self._images(folder, label, split))
            if not rows:
                held = _listed(self.skipped - before)
                raise InputError(
                    f"the class folder {str(folder)!r} holds no image ({held or 'it is empty'}); "
                    "remove it, or convert its files"
                )
            yield from rows

    def _images(self, folder: Path, label: str, split: str) -> Iterator[Row]:
        for place, inside, names in os.walk(folder):
            shown = [name for name in inside if not is_hidden(name)]
            self.skipped["hidden folder", ""] += len(inside) - len(shown)
            # `os.walk` does not follow them, and a link to a parent would never end
            linked = [name for name in shown if (Path(place) / name).is_symlink()]
            self.skipped["linked folder", ""] += len(linked)
            # in place: this is what `os.walk` goes into next; sorted, for the order of rows
            inside[:] = sorted(set(shown) - set(linked))
            if masks := [name for name in inside if _letters(name) in _MASKS]:
                raise InputError(
                    f"the class folder {place!r} holds {masks[0]!r}: masks are no images of a "
                    f"class; {_MANIFEST}"
                )
            _check_pairs(place, names)
            inner = Path(place)
            folders = inner.relative_to(folder).parts
            # CLASS/images/PATIENT/*.png: the first sorts files, not patients
            folders = folders[1:] if folders and _letters(folders[0]) in _PIXELS else folders
            patient = clean("".join(folders[:1]))
            above = inner.relative_to(self.root).as_posix()
            for name in sorted(names):
                path = inner / name
                if is_hidden(name):
                    self.skipped["hidden file", ""] += 1
                elif shows_nothing(path):
                    self.skipped["DICOM file", " without an image"] += 1
                elif is_image(path):
                    below = clean(f"{above}/{name}")
                    yield Row(below, path, label, group=patient, split=split)
                else:
                    self.skipped[f"{path.suffix.lower() or 'other'} file", ""] += 1

    def grouped(self, rows: list[Row]) -> list[Row]:
        """Return `rows` with the folder inside a class as the group; a row without one is alone.

        One folder of the same name in every class (CLASS/files/) sorts files, not patients.
        """
        folders = {row.group for row in rows} - {""}
        inside: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            inside.setdefault((row.split, row.label), set()).add(row.group)
        # CLASS/files/*.png: the same one folder in every class says nothing of patients
        sorts = all(len(names) == 1 for names in inside.values()) and len(folders) == 1
        asked = self.declared.group
        if asked in ("image", PATIENT) or (asked != "folder" and sorts):
            return [replace(row, group="") for row in rows]
        # `p1` of train/ and of test/ may be two people or a leak; only the user knows
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
        if left := _listed(self.skipped):
            yield f"left out: {left}"


def _listed(skipped: Counter[tuple[str, str]]) -> str:
    """Return "1 hidden file, 2 .txt files"."""
    counted = sorted((kind, count) for kind, count in skipped.items() if count)
    return ", ".join(many(count, noun) + more for (noun, more), count in counted)


def _letters(name: str) -> str:
    """Return the letters of a name, small: `Ground_Truth` and "ground truth" are one."""
    return "".join(filter(str.isalpha, name.casefold()))


def is_image(path: Path) -> bool:
    """Return whether a file is a picture or a volume, or is called one.

    What is called a picture and is none is an error to report when it is read, not to skip.
    """
    return _is_called_image(path) or images.is_picture(path)  # only others are opened to know


def shows_nothing(path: Path) -> bool:
    """Return whether a file is DICOM without an image; what has another ending is not opened."""
    if volumes.is_volume(path) or path.suffix.lower() in images.SUFFIXES:
        return False
    return images.dicom.without_image(path)


def _is_called_image(path: Path) -> bool:
    known = images.SUFFIXES | images.dicom.SUFFIXES
    return volumes.is_volume(path) or path.suffix.lower() in known


def _check_pairs(place: str, names: list[str]) -> None:
    """Raise InputError where NAME_mask.png lies beside NAME.png or NAME_t1.png: it is no image."""
    stems = {stem(Path(name)).lower() for name in names if _is_called_image(Path(name))}
    ordered = sorted(stems)
    for found in ordered:
        for end in _MASK_ENDS:
            for mark in ("_", "-", " ", "."):
                if not found.endswith(mark + end):
                    continue
                name = found.removesuffix(mark + end)
                # of those that start so, two: the mask may be one of them
                first = bisect_left(ordered, name + mark)
                near = [s for s in ordered[first : first + 2] if s.startswith(name + mark)]
                images_of = [name] if name in stems else [s for s in near if s != found]
                if images_of:
                    raise InputError(
                        f"{place!r} holds {images_of[0]!r} and {found!r}: a mask is no image of a "
                        f"class; move the masks elsewhere, or {_MANIFEST}"
                    )
