"""Your own data in one CSV: `image,label[,group][,split]` or `image,mask[,group][,split]`.

Paths are relative to the CSV. Integer labels (three or more) are taken as ordered grades. In masks
255 is ignored; but where all masks hold 0 and 255 only, 255 is the foreground. A NIfTI volume
(.nii, .nii.gz) is cut into slices; they form one group. What this leaves open is declared in a
dataset.toml beside the CSV.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.core.files import text_stream
from benchmark.core.registry import InputError, unknown
from benchmark.core.spelling import (
    check_spelled_alike,
    clean,
    is_list,
    is_missing,
    is_nobody,
    is_rounded,
    joined,
    one_spelling,
    whole_number,
)
from benchmark.data.base import Card, Dataset, TaskName, many, stratum
from benchmark.data.readers import dicom, images, masks, table, volumes
from benchmark.data.readers.declared import PATIENT, PLAIN, Declaration, beside, completed
from benchmark.data.readers.digests import remembered
from benchmark.data.readers.table import Headers, Reading, Row

COLUMNS = ("image", "label", "mask", "group", "split")
GIVEN = "given by the user"
_OF_VOLUMES = ("orientation", "slice_axis", "channels")  # declared where there is none: no effect


def open_manifest(path: Path) -> Dataset:
    """Return the data set of a manifest; its name is the folder's where the file is manifest.csv.

    Raises:
        InputError: for anything that would make the numbers wrong, before any training.
    """
    declared = beside(path)
    rows = _rows(path, declared)
    name = path.resolve().parent.name if path.stem.lower() == "manifest" else path.stem
    return from_rows(rows, name, declared, str(path))


def from_rows(rows: Sequence[Row], name: str, declared: Declaration, origin: str) -> Dataset:
    """Return the data set of a user's rows: labels or masks, pictures or volumes.

    Raises:
        InputError: for rows, files or a declaration that cannot be taken as they are.
    """
    if declared.group == PATIENT and not any(row.group for row in rows):
        rows = _by_patient(rows, declared)
    table.check_rows(rows, origin)
    _check_links(rows)
    check_spelled_alike(dict.fromkeys(row.group for row in rows), "groups", origin)
    masked = rows[0].mask is not None
    for key in ("ordinal", "multilabel") if masked else ("mask_values", "mask_threshold"):
        if getattr(declared, key):
            kind = "masks" if masked else "labels"
            raise InputError(f"{declared.origin!r} declares {key}; this set has {kind}")
    for row in rows:
        if row.mask is not None and volumes.is_volume(row.image) != volumes.is_volume(row.mask):
            raise InputError(
                f"of {str(row.image)!r} and its mask {str(row.mask)!r} one is NIfTI (.nii, "
                ".nii.gz) and the other is not; save both alike"
            )
    # all volumes of a set are cut alike: slices of two directions are two kinds of images
    sources = [path for row in rows for path in (row.image, row.mask) if path is not None]
    cut = [path for path in sources if volumes.is_volume(path)]
    idle = [key for key in _OF_VOLUMES if getattr(declared, key)]
    if idle and not cut:
        raise InputError(f"{declared.origin!r} declares {idle[0]}; {origin} has no NIfTI volume")
    if not cut and declared.window and not any(dicom.is_dicom(path) for path in sources):
        raise InputError(
            f"{declared.origin!r} declares window; {origin} has no NIfTI volume and no DICOM file"
        )
    axis = volumes.common_axis(cut, declared) if cut else None
    expanded = [
        part
        for row in rows
        for part in (table.slices(row, declared, axis) if volumes.is_volume(row.image) else [row])
    ]
    headers = table.headers(expanded, declared)
    image = partial(table.read_image, declared=declared)
    if not masked:
        reading = Reading(image, table.read_classes, declared=declared)
        dataset = _labelled(expanded, name, declared, origin, reading, headers)
    else:
        table.check_sizes(expanded, headers)  # before masks are read, which takes longer
        dataset = _masked(rows, expanded, name, declared, origin, image, headers)
    notes = [*dataset.notes, *_twins(rows)]
    if cut and not masked:
        count = sum(row.slice is not None for row in expanded)
        told = f"{many(len(cut), 'volume')} became {many(count, 'slice')}, each scored as an image"
        notes.append(f"{told} of its own with the label of its volume")
    return replace(dataset, notes=tuple(notes))


def _twins(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a note on images of other groups whose names differ in their endings only.

    An export may hold a picture beside the DICOM file that it was made of.
    """
    first: dict[tuple[Path, str], Row] = {}
    found = []
    for row in rows:
        # a name without one may end with a number: 1.2.840.1 and 1.2.840.2 are two
        if row.image.suffix.lower() in images.SUFFIXES | dicom.SUFFIXES:
            other = first.setdefault((row.image.parent, _stem(row.image.name)), row)
            if other is not row and (not row.group or row.group != other.group):
                found.append(f"{other.id}, {row.id}")
    if found:
        yield (
            f"{many(len(found), 'image has', 'images have')} the name of another one with another "
            f"ending ({found[0]}): take out what is a copy (`data check` compares them)"
        )


def _by_patient(rows: Sequence[Row], declared: Declaration) -> list[Row]:
    """Return `rows` with the PatientID of their DICOM files as the group.

    Raises:
        InputError: a file of another kind, or one that names no patient.
    """
    files = [row.image for row in rows]
    if other := next((path for path in files if not dicom.is_dicom(path)), None):
        raise InputError(
            f"{declared.origin!r} declares the group {PATIENT}; {str(other)!r} is no DICOM file"
        )
    patients = remembered(files, "patient 1", dicom.patient_of)
    for path, patient in patients.items():
        if is_nobody(patient):
            raise InputError(
                f"the {PATIENT} of {str(path)!r} is {patient!r}; leave the file out, or name the "
                "patients in the column group of a manifest"
            )
    spelled = one_spelling(patients.values())
    return [replace(row, group=spelled[patients[row.image]]) for row in rows]


def _labelled(
    rows: Sequence[Row],
    name: str,
    declared: Declaration,
    origin: str,
    reading: Reading,
    headers: Headers,
) -> Dataset:
    """Return a classification or multi-label set; the declaration names classes and their order."""
    if declared.multilabel:
        classes = declared.classes or _findings(rows, origin)
        card = own_card(name, "multilabel", classes, False, rows, declared)
        understood = completed(declared, classes=classes)
        return replace(table.multilabel(rows, card, reading, headers), declaration=understood)
    several = next((row for row in rows if "|" in row.label), None)
    if several is not None:
        raise InputError(
            f"the label {several.label!r} of {several.id!r} in {origin} joins several findings; "
            "declare multilabel = true in dataset.toml, or give each image one label"
        )
    # before names are compared with the declared ones: 1.0 and 01 may both be the class 1
    spelled = one_spelling(row.label for row in rows)
    found, ordinal = table.class_names(spelled.values(), origin)
    if not declared.classes and (values := next(filter(is_list, found), None)):
        raise InputError(
            f"the label {values!r} in {origin} is a list or has a decimal comma; write findings as "
            "'mass|nodule' with multilabel = true, and numbers with a point, or declare the "
            "classes in dataset.toml"
        )
    if not declared.classes and (compound := joined(found, ";")):
        raise InputError(
            f"the label {compound[0]!r} in {origin} joins other labels; write them as "
            f"{'|'.join(compound[1])!r} and declare multilabel = true in dataset.toml, or give "
            "each image one label, or declare the classes there"
        )
    renamed = dict(zip(found, found, strict=True))
    if declared.classes:
        renamed = _declared_names(found, declared)
        found = declared.classes
    elif negative := [label for label in found if label.startswith("-") and label[1:].isdecimal()]:
        row = next(row for row in rows if spelled[row.label] == negative[0])
        raise InputError(
            f"the label {row.label!r} of {row.id!r} in {origin} is negative, which often means "
            f"unknown; leave such images out, or declare classes = {list(found)} in dataset.toml"
        )
    rows = [replace(row, label=renamed[spelled[row.label]]) for row in rows]
    if declared.ordinal and not declared.classes and None in map(whole_number, found):
        # in the order of the alphabet "high" would lie below "low"
        raise InputError(
            f"{declared.origin!r} declares ordinal of classes that are no whole numbers; declare "
            f"classes = {json.dumps(found, ensure_ascii=False)} as well, in the order from the "
            "lowest to the highest"
        )
    ordinal = ordinal if declared.ordinal is None else declared.ordinal
    card = own_card(name, "classification", found, ordinal, rows, declared)
    understood = completed(declared, classes=found, ordinal=ordinal)
    dataset = table.classification(rows, card, reading, headers)
    shown = set(renamed.values())
    if unused := [repr(label) for label in found if label not in shown]:
        # labels 1 and 2 may be meant as the first and the second of three classes
        note = f"no image is of the class {', '.join(unused)} (numbers as labels start from 0)"
        dataset = replace(dataset, notes=(note,))
    return replace(dataset, declaration=understood)


def _findings(rows: Sequence[Row], origin: str) -> tuple[str, ...]:
    """Return the findings of a multi-label set, sorted."""
    found = sorted({clean(part) for row in rows for part in row.label.split("|")} - {""})
    if not found:
        raise InputError(f"{origin} names no finding; write those of each image in its label")
    check_spelled_alike(found, "classes", origin)
    if compound := joined(found, ";,"):
        raise InputError(
            f"the label {compound[0]!r} in {origin} joins others; write it as "
            f"{'|'.join(compound[1])!r}, or declare the classes in dataset.toml"
        )
    flags = "0 and 1" if {*found} <= {"0", "1"} else ""  # of columns, one for each finding
    if values := next(filter(is_list, found), flags):
        raise InputError(
            f"the findings in {origin} are {values!r}; write the names of those that an image has, "
            "such as 'mass|nodule', or declare the classes in dataset.toml"
        )
    if unsaid := next(filter(is_missing, found), None):
        raise InputError(
            f"the finding {unsaid!r} in {origin} means missing; take it out, or declare the "
            "classes in dataset.toml"
        )
    return tuple(found)


def _declared_names(found: tuple[str, ...], declared: Declaration) -> dict[str, str]:
    """Return the declared class of each label: the label itself, or the name of its number."""
    # names first: classes that are called "0" and "1" may be declared in another order
    if set(found) <= set(declared.classes):
        return {name: name for name in found}
    count = len(declared.classes)
    if all(name.isdecimal() and int(name) < count for name in found):
        return {name: declared.classes[int(name)] for name in found}
    undeclared = next(name for name in found if name not in declared.classes)
    raise InputError(
        f"the label {undeclared!r} is none of the classes that {declared.origin!r} declares: "
        f"{', '.join(declared.classes)}"
    )


def _masked(
    rows: Sequence[Row],
    expanded: Sequence[Row],
    name: str,
    declared: Declaration,
    origin: str,
    image: partial[np.ndarray],
    headers: Headers,
) -> Dataset:
    """Return a segmentation set; `expanded` holds a row per slice where `rows` hold volumes."""
    paths = [row.mask for row in rows if row.mask is not None]
    # every mask is read once, ever: its values decide the coding, and the strata of the split
    facts = remembered(paths, f"mask 3 {declared.reading}", partial(masks.facts, declared=declared))
    coding = masks.coding([(path, facts[path]) for path in paths], declared, origin)

    def read(row: Row) -> np.ndarray:
        assert row.mask is not None
        if row.slice is not None:
            codes = volumes.read_code_slice(row.mask, row.slice, row.axis, declared)
        else:
            codes = images.read_codes(row.mask, declared)
        return coding(codes, str(row.mask))

    def shown(row: Row) -> int:
        assert row.mask is not None
        fact = facts[row.mask]
        if row.slice is not None:
            values = fact["slices"][row.axis][row.slice]
        else:
            values = [value for value, _, _ in fact["values"]]
        return stratum(coding(np.array(values, np.int64), str(row.mask)))

    card = own_card(name, "segmentation", coding.classes, False, rows, declared)
    codes = np.array([shown(row) for row in expanded], np.int64)
    reading = Reading(image, read, declared=declared)
    dataset = table.segmentation(expanded, card, reading, headers, codes)
    shown_values = {value for fact in facts.values() for value, _, _ in fact["values"]}
    notes = table.turned_alone(expanded, headers)
    return replace(
        dataset, declaration=masks.declaration(coding, declared, shown_values), notes=notes
    )


def _rows(path: Path, declared: Declaration) -> list[Row]:
    """Return the rows of the CSV, strictly: what is odd in it would shift or swallow others."""
    try:
        with text_stream(path) as stream:
            # not strict, a quotation mark that is not closed swallows the rows below it
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = str(error) + "; a quotation mark is not closed" * ("end of data" in str(error))
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8; save it so (in Excel: CSV UTF-8)"
        raise InputError(f"cannot read the manifest {str(path)!r}: {reason}") from None
    columns = [clean(name) for name in lines[0][1]] if lines else []
    _check_columns(path, columns, declared)
    group = declared.group or "group"
    rows = []
    folder = _Folder(path.parent)
    for number, cells in lines[1:]:
        where = f"line {number} of {str(path)!r}"
        if len(cells) != len(columns):
            what = "more" if len(cells) > len(columns) else "fewer"
            raise InputError(f"{where} has {what} cells than columns: {cells[0]!r}")
        # strict reading lets a closed cell hold lines: two stray marks would join many rows
        if any("\n" in cell or "\r" in cell for cell in cells):
            raise InputError(f"{where} ends a cell of several lines; close the quotation mark")
        values = dict(zip(columns, map(clean, cells), strict=True))
        target = values.get("mask", values.get("label", ""))
        if not values["image"] or (not target and not declared.multilabel):
            raise InputError(f"{where} is a row without image, label or mask: {values}")
        known = target in declared.classes or (declared.multilabel and not target)
        if "label" in values and is_missing(target) and not known:
            raise InputError(
                f"the label of {values['image']!r} in {where} is {target!r}, which means "
                "missing; leave the row out, or declare the class in dataset.toml"
            )
        # pandas writes "nan" for an empty cell: as a group it would be one very large patient
        patient = values.get(group, "")
        if patient and is_nobody(patient):
            raise InputError(
                f"the group of {values['image']!r} in {where} is {patient!r}; name its patient, or "
                "leave the cell empty"
            )
        if is_rounded(patient):
            raise InputError(
                f"the group of {values['image']!r} in {where} is {patient!r}, a number that a "
                "spreadsheet has rounded, so several patients may be one; save the column as text"
            )
        image, mask = folder.file(values["image"]), values.get("mask")
        rows.append(
            Row(
                folder.id(image),
                image,
                values.get("label", ""),
                folder.file(mask) if mask else None,
                patient,
                values.get("split", ""),
            )
        )
    spelled = one_spelling(row.group for row in rows if row.group)
    rows = [replace(row, group=spelled.get(row.group, "")) for row in rows]
    return folder.relative(rows)


def _check_columns(path: Path, columns: Sequence[str], declared: Declaration) -> None:
    # pandas writes its row numbers there
    if "" in columns:
        raise InputError(
            f"{str(path)!r} has a column without a name; name it or take it out (in pandas: "
            "to_csv(..., index=False))"
        )
    for column in columns:
        # ignored, a column `patient` or `fold` would be lost in silence
        if column not in (*COLUMNS, declared.group):
            if any(mark in column for mark in ";\t"):
                raise InputError(
                    f"the columns of {str(path)!r} are not separated by commas: {column!r}"
                )
            if not {"image", "label", "mask"} & set(columns) and column.lower() not in COLUMNS:
                raise InputError(
                    f"the first line of {str(path)!r} has to name the columns: image, label or "
                    f"mask, and group and split if there are any; it is {','.join(columns)!r}"
                )
            error = unknown(f"column in {str(path)!r}:", column, COLUMNS)
            remedy = f'take it out, or declare group = "{column}" in dataset.toml if it names the '
            remedy += "patient"
            if not {"label", "mask"} & set(columns):
                remedy = "call the column of the classes label; findings in columns of their own "
                remedy += "become one label such as 'mass|nodule', with multilabel = true declared"
            raise InputError(f"{error}; {remedy}" if column.lower() not in COLUMNS else error)
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise InputError(f"{str(path)!r} has two columns {twice[0]!r}; keep one")
    if "image" not in columns or ("label" in columns) == ("mask" in columns):
        raise InputError(
            f"{str(path)!r} has the columns {list(columns)}; it needs image, and either label or "
            "mask"
        )
    if declared.group in COLUMNS and declared.group != "group":
        raise InputError(
            f"{declared.origin!r} declares the group column {declared.group!r}, which names no "
            "patient; name another column, or leave group out"
        )
    if declared.group and declared.group != "group" and "group" in columns:
        raise InputError(
            f"{declared.origin!r} declares the group column {declared.group!r}, and {str(path)!r} "
            "has a column group as well; leave one out"
        )
    if declared.group not in ("", PATIENT, *columns):
        raise InputError(
            f"{declared.origin!r} declares the group column {declared.group!r}; {str(path)!r} has "
            f"the columns {list(columns)}"
        )


class _Folder:
    """Files that a manifest names, and the names that are kept of them: none depends on the place.

    Each folder is listed once: a set of 100,000 rows does not ask the disk 100,000 times.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._inside: dict[str, dict[str, list[str]]] = {}
        self._outside: set[str] = set()  # files outside of the folder

    def file(self, name: str) -> Path:
        """Return the file that a cell names.

        Slashes are taken for backslashes, and the only ending that exists for a missing one.

        Raises:
            InputError: no such file, with what lies there instead.
        """
        for written in dict.fromkeys((name, name.replace("\\", "/"))):
            if (path := self._actual(self._at(written))) is not None:
                return path
        path = self._at(name.replace("\\", "/"))
        near = self._names(path.parent).get(_stem(path.name), [])
        known = [
            n for n in near if images.is_picture(path.parent / n) or volumes.is_volume(Path(n))
        ]
        if not path.suffix and len(known) == 1:
            return path.parent / known[0]
        instead = [n for n in near if n != path.name]
        hint = f"; there is {', '.join(map(repr, sorted(instead)[:3]))}" if instead else ""
        if not self._names(path.parent) and not path.parent.is_dir():
            hint = f"; its folder {str(path.parent)!r} does not exist"
        raise InputError(f"there is no image {str(path)!r}{hint}; correct the manifest")

    def _at(self, name: str) -> Path:
        if "\0" in name:
            raise InputError(f"the path {name!r} in the manifest holds a NUL; correct it")
        return Path(os.path.normpath(self.root / name))

    def _actual(self, path: Path) -> Path | None:
        """Return the file of this name, whichever way its accents are written; None if absent."""
        names = self._names(path.parent).get(_stem(path.name), [])
        same = [name for name in names if clean(name) == clean(path.name)]
        # macOS decomposes accents in names, most editors compose them
        if path.name in same or len(same) == 1:
            return path if path.name in same else path.parent / same[0]
        return None

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """Return the names in a folder by their stems in lower case."""
        key = str(folder)
        if key not in self._inside:
            found: dict[str, list[str]] = {}
            try:
                for path in folder.iterdir():
                    found.setdefault(_stem(path.name), []).append(path.name)
            except (OSError, ValueError):
                found = {}  # the file is reported as missing, with its folder
            self._inside[key] = found
        return self._inside[key]

    def id(self, path: Path) -> str:
        """Return the id of an image: its path from the manifest, or all of it, for one outside."""
        start = f"{self.root}/"
        if (text := str(path)).startswith(start):  # the usual case; `relpath` takes much longer
            return clean(text[len(start) :])
        below = clean(Path(os.path.relpath(path, self.root)).as_posix())
        if below.startswith("../"):
            self._outside.add(str(path))
            return str(path)
        return below

    def relative(self, rows: list[Row]) -> list[Row]:
        """Return `rows` with the ids of files outside starting at their common folder.

        A path from the manifest to them would tell where both lie, not what they are.
        """
        base = os.path.commonpath([Path(name).parent for name in self._outside] or [Path()])
        inside = {row.id for row in rows} - self._outside

        def named(path: str) -> str:
            name = clean(Path(os.path.relpath(path, base)).as_posix())
            return f"{Path(base).name}/{name}" if name in inside else name

        return [replace(row, id=named(row.id)) if row.id in self._outside else row for row in rows]


def _check_links(rows: Sequence[Row]) -> None:
    """Raise InputError for one file under two names, which could be in two parts or classes."""
    first: dict[str, str] = {}
    parents: dict[Path, str] = {}  # followed once per folder
    for row in rows:
        if row.image.parent not in parents:
            parents[row.image.parent] = os.path.realpath(row.image.parent)
        real = os.path.join(parents[row.image.parent], row.image.name)  # noqa: PTH118
        real = os.path.realpath(real) if row.image.is_symlink() else real
        if (other := first.setdefault(real, row.id)) != row.id:
            raise InputError(f"{other!r} and {row.id!r} are the same image, listed twice; keep one")


def _stem(name: str) -> str:
    lowered = clean(name).lower()
    return lowered.removesuffix(".gz").rpartition(".")[0] or lowered


def own_card(
    name: str,
    task: TaskName,
    classes: tuple[str, ...],
    ordinal: bool,
    rows: Sequence[Row],
    declared: Declaration = PLAIN,
) -> Card:
    """Return the card of a user's set: what is declared of it, and what its rows tell."""
    alone = sum(not row.group for row in rows)
    return Card(
        name=name,
        task=task,
        classes=classes,
        modality=declared.modality or GIVEN,
        licence=declared.licence or GIVEN,
        citations=(),
        url=declared.url,
        ordinal=ordinal,
        grouping="unknown" if alone else "inferred" if declared.patients else "given",
        group_key="" if alone else _group_key(declared),
        group_source=_ungrouped(alone, len(rows), declared),
    )


def _group_key(declared: Declaration) -> str:
    return PATIENT if declared.group == PATIENT else f"column {declared.group or 'group'}"


def _ungrouped(alone: int, count: int, declared: Declaration) -> str:
    """Return why patients are unknown, if they are."""
    if declared.patients and not alone:
        return (
            "they hold copies of an image; which images share a patient is unknown, so training "
            "and test may share patients"
        )
    if alone == count:
        return "the manifest has no group column"
    return f"{alone} of {count} rows of the manifest name no group" if alone else ""
