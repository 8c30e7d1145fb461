"""What a named data set on the disk is made of: a card, and a function that lists its rows.

A set's own file gives the card first, then the rows of what people have below its folder. People
have the publisher's archives, unpacked in many ways, and copies that somebody rearranged, so a set
says by which files it is recognised and `Download` looks for them.
"""

from __future__ import annotations

import csv
import fnmatch
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from benchmark.core.files import digest, text_stream
from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, Entry, datasets, many
from benchmark.data.readers import table
from benchmark.data.readers.table import AS_IS, Reading, Row

GRADES = ("no_dr", "mild", "moderate", "severe", "proliferative")  # ICDR scale, 0 to 4
# Copies from hosting sites add a folder of their own name, and archives another one.
DEPTH = 3  # folders between the folder that was named and the files of the set
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii.gz", ".nii")
SEEN = 8  # names that a message lists
_BY_HAND = (".rar", ".7z")  # archives that Python cannot unpack
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".gz", ".001", *_BY_HAND)


def is_hidden(name: str) -> bool:
    """Return whether a name is of the operating system: `._x.png`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def stem(path: Path) -> str:
    """Return the name without its ending, `.nii.gz` included."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


class Download:
    """What lies below the folder of a set; names are compared without case, hidden ones skipped.

    A pattern is a relative path; its last part may hold `*`. Folders are searched level by level,
    at most `DEPTH` down, so that a set with a folder per patient is not listed whole. The patterns
    of one call are tried in order on each level; where one fits in two folders of a level, the
    sentence names both: which of two copies is meant cannot be guessed.
    """

    def __init__(self, card: Card, root: Path) -> None:
        self.card = card
        self.root = root
        self.notes: list[str] = []  # what was left out; `data show` prints it
        self._listed: dict[Path, tuple[dict[str, Path], list[Path]]] = {}

    def find_folder(self, *patterns: str) -> Path | None:
        """Return the folder that directly holds what a pattern names, or None.

        Raises:
            InputError: for several such folders on the same level.
        """
        level = [self.root]
        # level by level: a release at the top counts before a copy that lies deeper
        for _ in range(DEPTH + 1):
            for pattern in patterns:
                holders = sorted({p for folder in level for p in self._holders(folder, pattern)})
                if len(holders) > 1:  # two versions of a set: either would give other numbers
                    listed = " and ".join(repr(str(p)) for p in holders[:2])
                    raise InputError(
                        f"{pattern!r} of {self.card.name!r} is in {len(holders)} folders, among "
                        f"them {listed}; keep one, or name the right one: {self.card.name}@FOLDER"
                    )
                if holders:
                    return holders[0]
            level = [child for folder in level for child in self._list(folder)[1]]
        return None

    def all_folders(self, *patterns: str) -> list[Path]:
        """Return every folder at most `DEPTH` down that directly holds a match of a pattern."""
        found: set[Path] = set()
        level = [self.root]
        for _ in range(DEPTH + 1):
            found |= {p for f in level for pattern in patterns for p in self._holders(f, pattern)}
            level = [child for folder in level for child in self._list(folder)[1]]
        if not found:
            raise self.missing(*patterns)
        return sorted(found)

    def folder(self, *patterns: str) -> Path:
        """Return what `find_folder` does; nothing raises an InputError that says what to do."""
        found = self.find_folder(*patterns)
        if found is None:
            raise self.missing(*patterns)
        return found

    def find(self, *patterns: str) -> Path | None:
        """Return the one file or folder that a pattern names, or None; two raise InputError."""
        holder = self.find_folder(*patterns)
        if holder is None:
            return None
        last = [pattern.rpartition("/")[2].lower() for pattern in patterns]
        # the patterns in their order: the publisher's own name before those of copies
        for name in last:
            matches = [p for n, p in self._list(holder)[0].items() if fnmatch.fnmatchcase(n, name)]
            if len(matches) > 1:
                raise InputError(
                    f"{str(matches[0])!r} and {str(matches[1])!r} may both be the {name!r} of "
                    f"{self.card.name!r}; keep one"
                )
            if matches:
                return matches[0]
        return None

    def file(self, *patterns: str) -> Path:
        """Return what `find` does; nothing raises an InputError that says what to do."""
        found = self.find(*patterns)
        if found is None:
            raise self.missing(*patterns)
        return found

    def files(self, folder: Path, *endings: str) -> list[Path]:
        """Return the files directly in `folder` with one of these endings, sorted.

        Raises:
            InputError: for none at all.
        """
        # endings of small letters, for names are listed in small letters: `.JPG` is `.jpg`
        found = [p for n, p in self._list(folder)[0].items() if n.endswith(endings)]
        if not found:
            raise self.missing(*(f"*{ending}" for ending in endings), inside=folder)
        return sorted(found)

    def inside(self, folder: Path, *patterns: str) -> list[Path]:
        """Return what lies directly in `folder` and fits a pattern; none raises InputError."""
        names = self._list(folder)[0]
        found = sorted(
            path
            for name, path in names.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        )
        if not found:
            raise self.missing(*patterns, inside=folder)
        return found

    def images_of(self, first: str, *folders: str) -> tuple[dict[str, Path], Path]:
        """Return the pictures beside the image `first` of a table by name, and their folder.

        The folders of these names are looked at first, then any; a folder repeated inside itself
        (`train_images/train_images/`) is as good.
        """
        # tables name images with or without an ending, and copies have changed the ending
        name = Path(first).stem.lower()
        endings = [f"{name}{ending}" for ending in PICTURES]
        folder = self.folder(*(f"{f.lower()}/{e}" for f in folders for e in endings), *endings)
        return self.by_stem([folder], *PICTURES), folder

    def by_stem(
        self, folders: Iterable[Path], *endings: str, only: Collection[str] | None = None
    ) -> dict[str, Path]:
        """Return the files of several folders by their name without ending (those in `only`).

        Raises:
            InputError: for two files of one name: one would silently replace the other.
        """
        found: dict[str, Path] = {}
        copies = 0
        for folder in folders:
            for path in self.files(folder, *endings):
                if only is not None and stem(path) not in only:
                    continue  # a mask, a preview: something that the table does not speak of
                other = found.setdefault(stem(path), path)
                if other == path:
                    continue
                # one host stores the same folder again in small letters
                twin = other.parent.name.lower() == path.parent.name.lower()
                if not twin or other.stat().st_size != path.stat().st_size:
                    raise InputError(
                        f"{str(other)!r} and {str(path)!r} are both the image {stem(path)!r} of "
                        f"{self.card.name!r}; move one of the folders away"
                    )
                copies += 1
        if copies:
            self.notes.append(
                f"left out: {many(copies, 'copy', 'copies')} in a folder of the same name"
            )
        return found

    def sibling(self, folder: Path, *names: str) -> Path:
        """Return the folder beside `folder` that has one of these names.

        Raises:
            InputError: where there is none.
        """
        beside = self._list(folder.parent)[0]  # keys are in small letters
        for name in names:
            if (path := beside.get(name)) is not None and path.is_dir():
                return path
        raise self.missing(*names, inside=folder.parent)

    def missing(self, *patterns: str, inside: Path | None = None) -> InputError:
        """Return the error for what is absent: what was looked for, what is there, what to do."""
        where = inside or self.root
        names = [name.name for name in self._list(where)[0].values()]
        seen = ", ".join(sorted(names)[:SEEN]) + (", ..." if len(names) > SEEN else "")
        # most who ask have downloaded, and not unpacked yet: say so before anything else
        packed = [name for name in sorted(names) if name.lower().endswith(_ARCHIVES)]
        by_hand = [name for name in packed if name.lower().endswith(_BY_HAND)]
        name = self.card.name
        if by_hand:
            do = f"unpack {by_hand[0]} with unrar or 7z first"
        elif packed:
            do = f"unpack {packed[0]}: `python -m benchmark data prepare {name}@{self.root}`"
        else:
            do = f"expected is the original download: {self.card.get} ({self.card.url})"
        below = "" if inside else f" or up to {DEPTH} folders below"
        return InputError(
            f"{name!r}: there is no {' or '.join(dict.fromkeys(patterns))} in {str(where)!r}{below}"
            f" (it holds {seen or 'nothing'}); {do}"
        )

    def refuse_copies(self, what: str, *patterns: str) -> None:
        """Raise InputError where the folder is a preprocessed copy that cannot be used."""
        if (holder := self.find_folder(*patterns)) is not None:
            raise InputError(
                f"{str(holder)!r} is a preprocessed copy of {self.card.name!r}: {what}; get "
                f"{self.card.get} ({self.card.url})"
            )

    def _holders(self, folder: Path, pattern: str) -> Iterator[Path]:
        """Yield the folders that hold a match of `pattern` relative to `folder`."""
        *parents, last = pattern.lower().split("/")
        level = [folder]
        for part in parents:
            level = [
                child
                for place in level
                for child in self._list(place)[1]
                if fnmatch.fnmatchcase(child.name.lower(), part)
            ]
        for place in level:
            if any(fnmatch.fnmatchcase(name, last) for name in self._list(place)[0]):
                yield place

    def _list(self, folder: Path) -> tuple[dict[str, Path], list[Path]]:
        """Return (all entries by lower-case name, subfolders) of a folder; each is read once."""
        if folder not in self._listed:
            # `scandir` knows the kind of an entry without asking the disk for each
            try:
                with os.scandir(folder) as entries:
                    shown = sorted((e.name, e.is_dir()) for e in entries if not is_hidden(e.name))
            except OSError as error:
                raise InputError(f"cannot read the folder {str(folder)!r} ({error})") from None
            self._listed[folder] = (
                {name.lower(): folder / name for name, _ in shown},
                [folder / name for name, is_folder in shown if is_folder],
            )
        return self._listed[folder]

    @cached_property
    def is_empty(self) -> bool:
        """Return whether the folder holds nothing that counts."""
        return not self._list(self.root)[0]


def add(card: Card, rows: Callable[[Download], list[Row]], reading: Reading = AS_IS) -> None:
    """Register a set; `rows` lists its images below the folder of the download.

    `rows` may replace `download.card`: groups that need a file which is not there are unknown.
    """

    def open_below(folder: Path) -> Dataset:
        download = Download(card, folder)
        listed = rows(download)
        # the same rules as for a user's own data: one split per group, no image twice
        table.check_rows(listed, str(folder))
        make = {"classification": table.classification, "multilabel": table.multilabel}.get(
            card.task, table.segmentation
        )
        dataset = make(listed, download.card, reading)
        return replace(dataset, notes=(*dataset.notes, *download.notes))

    datasets.add(card.name)(Entry(card, open_below))


def without_groups(card: Card, reason: str) -> Card:
    """Return the card of a copy that lacks what tells which images belong together."""
    return replace(card, grouping="unknown", group_key="", group_source=reason)


def table_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV (of a .tab, divided by tabs), cells stripped; empty lines are none.

    Raises:
        InputError: for a missing column, or a file that is no table.
    """
    try:
        with text_stream(path) as stream:
            # Dataverse serves every CSV as .tab unless asked for the original
            tabs = path.suffix.lower() in (".tab", ".tsv")
            reader = csv.DictReader(stream, delimiter="\t" if tabs else ",", strict=True)
            lines = [
                {k.strip(): v.strip() for k, v in line.items() if k and isinstance(v, str)}
                for line in reader
            ]
            names = [name.strip() for name in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r} ({error})") from None
    for column in columns:
        if column not in names:  # another version of the table, or an HTML page of a login
            raise InputError(
                f"{str(path)!r} has no column {column!r} (it has {', '.join(names)}); get the "
                "original file"
            )
    return [line for line in lines if any(line.values())]


def column_of(path: Path, *names: str) -> str:
    """Return the first of these columns that a table has: copies rename them.

    Raises:
        InputError: where it has none of them.
    """
    try:
        with text_stream(path) as stream:
            first = stream.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {str(path)!r} ({error})") from None
    # the first line alone: the table may have 100,000 rows and is read again with its columns
    header = [cell.strip().strip('"') for cell in first.replace("\t", ",").split(",")]
    for name in names:
        if name in header:
            return name
    raise InputError(f"{str(path)!r} has no column {' or '.join(names)}; get the original file")


def grade(text: str, path: Path, row: int) -> str:
    """Return the name of a grade of diabetic retinopathy; `2.0` is 2, for copies store floats.

    Raises:
        InputError: for anything but 0 to 4, with the file and the row (the header is row 1).
    """
    whole = text.removesuffix(".0")  # pandas writes a column with an empty cell as floats
    if whole.isascii() and whole.isdigit() and int(whole) < len(GRADES):
        return GRADES[int(whole)]
    raise InputError(f"{str(path)!r}, row {row}: the grade {text!r} is not one of 0 to 4")


def existing(row: Row) -> Row:
    """Return `row`; a file that it names and that is missing raises InputError."""
    for path in (row.image, row.mask):
        if path is not None and not path.is_file():
            raise InputError(f"there is no {str(path)!r}; the download is not complete")
    return row


def picked(images: dict[str, Path], name: str, folder: Path) -> Path:
    """Return the image of a table's row by its name, with or without an ending.

    Raises:
        InputError: where there is none.
    """
    # `IDRiD_001` or `IDRiD_001.jpg`, and stems such as `a.b` are names, too
    found = images.get(name) or images.get(Path(name).stem)
    if found is None:
        raise InputError(
            f"there is no image {name!r} in {str(folder)!r}; the download is not complete"
        )
    return found


def paired(images: dict[str, Path], masks: dict[str, Path], card: Card) -> Iterator[Row]:
    """Yield a row for each image with the mask of its name.

    Raises:
        InputError: for an image without a mask, or a mask without an image.
    """
    # in both directions: half a download must not become a smaller data set in silence
    for left, right, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(left.keys() - right.keys())
        if alone:
            raise InputError(
                f"{str(left[alone[0]])!r} of {card.name!r} has no {what} of its name "
                f"({len(alone)} of {len(left)}); the download is not complete"
            )
    for name, path in images.items():
        yield Row(name, path, mask=masks[name])


def fingerprint(*parts: str) -> str:
    """Return 16 hex digits over `parts`, for sets that are not made of rows."""
    return digest("\n".join(parts))
