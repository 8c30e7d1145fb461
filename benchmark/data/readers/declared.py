"""`dataset.toml`: what its owner declares of a data set where the files alone do not settle it.

The file lies beside the data: FOLDER/dataset.toml, and for X.csv or X.npz also X.toml, which counts
first. Everything in it is checked; an unknown key is an error, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmark.core.files import read_toml
from benchmark.core.numbers import LARGEST, Number
from benchmark.core.registry import InputError, unknown
from benchmark.core.spelling import check_spelled_alike, clean

NAME = "dataset.toml"
PATIENT = "PatientID"  # as a group: what each DICOM file says
IGNORED = "ignore"  # a mask value of this name is counted by no loss and no metric
_CHOICES = {
    "orientation": ("canonical", "stored"),
    "slice_axis": ("thickest", "sagittal", "coronal", "axial"),
    "pages": ("first",),
    "alpha": ("drop", "black", "white"),
    "patients": ("unknown",),
}


# Keys that change how an image is read: what was trained on such images is to see new ones alike.
OF_IMAGES = ("orientation", "slice_axis", "pages", "alpha", "window", "channels")
_EXCLUSIVE = (
    ("mask_values", "mask_threshold"),
    ("mask_values", "classes"),
    ("multilabel", "ordinal"),
)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_CODE = Number(int, least=-(2**31), most=2**32 - 1)  # what the integers of pictures and NIfTI hold


@dataclass(frozen=True)
class Declaration:
    """The keys of dataset.toml; an empty value declares nothing.

    `classes` names the labels in order, or the mask values 0, 1, 2, ... (the background first).
    `mask_values` maps each value of a mask, or its colour "#rrggbb", to the name of its class, in
    the order of the classes ("background" is always the first, "ignore" is none); several values
    may share one. From `mask_threshold` on, a grey level is the foreground. `group` is the column
    of a manifest that holds the patient; in a folder tree it is "folder" or "image"; "PatientID"
    asks DICOM files themselves. Where `patients` are "unknown", groups hold copies of an image, and
    those of one patient may still be in two. `window` are the grey values that become black and
    white.
    """

    classes: tuple[str, ...] = ()
    ordinal: bool | None = None
    multilabel: bool | None = None
    mask_values: tuple[tuple[str, str], ...] = ()
    mask_threshold: int = 0
    group: str = ""
    patients: str = ""
    orientation: str = ""
    slice_axis: str = ""
    pages: str = ""
    alpha: str = ""
    window: tuple[float, float] | str | None = None
    channels: tuple[int, ...] = ()  # of a 4-D volume: which three are red, green and blue
    modality: str = ""
    licence: str = ""
    url: str = ""
    origin: str = ""  # the file itself

    @property
    def colours(self) -> bool:
        """Return whether mask values are declared as colours."""
        return any(value.startswith("#") for value, _ in self.mask_values)

    @property
    def codes(self) -> dict[int, str]:
        """Return the declared mask values as numbers, colours as 0xRRGGBB."""
        return {
            int(value[1:], 16) if value.startswith("#") else int(value): name
            for value, name in self.mask_values
        }

    @property
    def reading(self) -> str:
        """Return what changes the pixels that are read, as text; "" where nothing does.

        It is part of the fingerprint: the same files read in another way are other data.
        """
        names = ("mask_values", "mask_threshold", "orientation", "slice_axis", "pages", "alpha")
        declared = {name: getattr(self, name) for name in (*names, "window", "channels")}
        return (
            repr(sorted((k, v) for k, v in declared.items() if v)) if any(declared.values()) else ""
        )


PLAIN = Declaration()


def completed(declared: Declaration, **understood: Any) -> dict[str, Any]:
    """Return the keys of a declaration, with what was `understood` where it says nothing."""
    keys = {item.name: getattr(declared, item.name) for item in fields(Declaration)}
    keys = {k: v for k, v in keys.items() if k != "origin" and v != getattr(PLAIN, k)}
    return understood | keys


def as_toml(keys: Mapping[str, Any]) -> str:
    """Return the text of a dataset.toml with these keys, in the order of `Declaration`."""

    def text(key: str, value: Any) -> str:
        if key == "mask_values":
            pairs = (f"{json.dumps(k)} = {json.dumps(v, ensure_ascii=False)}" for k, v in value)
            return f"{{{', '.join(pairs)}}}"
        return json.dumps(value, ensure_ascii=False)

    order = [item.name for item in fields(Declaration) if item.name in keys]
    return "\n".join(f"{key} = {text(key, keys[key])}" for key in order)


def beside(path: Path) -> Declaration:
    """Return what is declared for a folder, a CSV or an archive; PLAIN where there is no file.

    Raises:
        InputError: a file that is no TOML, an unknown key, or a value that is not allowed.
    """
    # two tables in one folder may need two declarations: that of its own name counts first
    places = [path / NAME] if path.is_dir() else [path.with_suffix(".toml"), path.parent / NAME]
    for place in places:
        if (found := in_any_case(place)) is not None:
            return read(found)
    return PLAIN


def in_any_case(place: Path) -> Path | None:
    """Return the file of this name, as Windows finds it: `Manifest.csv` is manifest.csv.

    Raises:
        InputError: two files whose names differ in case only.
    """
    if place.is_file():
        return place
    try:
        names = [p.name for p in place.parent.iterdir() if p.name.lower() == place.name.lower()]
    except OSError:
        return None
    if len(names) > 1:
        raise InputError(
            f"{str(place.parent)!r} holds {names[0]!r} and {names[1]!r}; leave one out"
        )
    return place.with_name(names[0]) if names else None


def read(path: Path) -> Declaration:
    """Return the declaration in a TOML file, checked."""
    return checked(read_toml(path), path)


def checked(values: Mapping[str, Any], path: Path) -> Declaration:
    """Return the declaration of the keys and values of `path`.

    Raises:
        InputError: an unknown key, a value that is not allowed, or two that say the same thing.
    """
    known = {item.name for item in fields(Declaration)} - {"origin"}
    for key in values:
        if key not in known:  # a misspelt key, ignored, would be a declaration without effect
            raise unknown(f"key in {str(path)!r}:", key, known)
    # of two that say the same thing one would win in silence
    for one, other in _EXCLUSIVE:
        if values.get(one) and values.get(other):
            raise InputError(f"{str(path)!r} declares {one} and {other}; leave one out")
    return Declaration(
        **{key: _checked(path, key, values[key]) for key in values}, origin=str(path)
    )


def read_alike(declared: Declaration, trained: Declaration) -> Declaration:
    """Return `declared` with what was declared of the images that a cell was trained on.

    Raises:
        InputError: where both say how to read an image, and not the same.
    """
    given = {key: getattr(trained, key) for key in OF_IMAGES if getattr(trained, key)}
    for key, value in given.items():
        if getattr(declared, key) not in (getattr(PLAIN, key), value):
            raise InputError(
                f"{declared.origin!r} declares {as_toml({key: getattr(declared, key)})}; the cell "
                f"was trained on images read with {as_toml({key: value})}: leave it out"
            )
    return replace(declared, **given)


def _checked(path: Path, key: str, value: Any) -> Any:
    """Return one value of the file in the type that `Declaration` holds."""

    def refuse(allowed: str) -> InputError:
        return InputError(f"{str(path)!r}: {key} = {value!r} must be {allowed}")

    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise refuse(" or ".join(f'"{choice}"' for choice in _CHOICES[key]))
        return value
    if key in ("ordinal", "multilabel"):
        if not isinstance(value, bool):
            raise refuse("true or false")
        return value
    if key == "classes":
        return _classes(path, value)
    if key == "channels":
        return _channels(path, value)
    if key == "mask_values":
        return _mask_values(path, value)
    if key == "mask_threshold":
        # `type`, because True is an int to isinstance
        if type(value) is not int or not 1 <= value <= 65535:
            raise refuse("a grey level of at least 1, such as 128")
        return value
    if key == "window":
        return _window(path, value)
    if not isinstance(value, str) or not value.strip():
        raise refuse("a text")
    return value


def _window(path: Path, value: Any) -> tuple[float, float] | str:
    if value == "percentiles":
        return "percentiles"
    if not isinstance(value, list) or [type(v) in (int, float) for v in value] != [True, True]:
        allowed = 'two numbers such as [-125, 275], or "percentiles"'
    elif not -LARGEST < value[0] < value[1] < LARGEST:
        allowed = "two finite numbers of which the first is less"
    else:
        return (float(value[0]), float(value[1]))
    raise InputError(f"{str(path)!r}: window = {value!r} must be {allowed}")


def _channels(path: Path, value: Any) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)
    if not whole or len({*value}) != 3 or len(value) != 3:
        raise InputError(
            f"{str(path)!r}: channels = {value!r} must be three different channels, counted from "
            "0, such as [0, 1, 2]"
        )
    return tuple(value)


def _classes(path: Path, value: Any) -> tuple[str, ...]:
    texts = isinstance(value, list) and all(isinstance(v, str) and clean(v) for v in value)
    names = tuple(map(clean, value)) if texts else ()  # as labels are read
    if len({*names}) != len(names) or len(names) < 2:
        raise InputError(
            f"{str(path)!r}: classes = {value!r} must be a list of at least two different names, "
            'such as ["benign", "malignant"]'
        )
    check_spelled_alike(names, "classes", repr(str(path)))
    return names


def _mask_values(path: Path, value: Any) -> tuple[tuple[str, str], ...]:
    """Return (value, class name) of each declared mask value, in the order of the file."""
    example = '{"0" = "background", "255" = "lesion"} or {"#000000" = "background", ...}'
    if not isinstance(value, dict) or len(value) < 2:
        raise InputError(f"{str(path)!r}: mask_values must be a table such as {example}")
    found = []
    for code, name in value.items():
        try:
            spelled = code.lower() if _COLOUR.fullmatch(code) else str(_CODE.read(code, ""))
        except InputError:
            spelled = ""
        if not spelled or not isinstance(name, str) or not clean(name):
            raise InputError(f"{str(path)!r}: mask_values must be a table such as {example}")
        found.append((spelled, clean(name)))
    codes = [code for code, _ in found]
    if twice := next((code for code in codes if codes.count(code) > 1), None):
        raise InputError(f"{str(path)!r}: mask_values names {twice} twice; leave one out")
    if len({code.startswith("#") for code, _ in found}) == 2:
        raise InputError(f"{str(path)!r}: mask_values holds numbers and colours; use one of them")
    # class 0 is the background everywhere: in the loss, in Dice, in the head
    names = {name for _, name in found} - {IGNORED}
    check_spelled_alike(sorted(names | {IGNORED}), "classes", repr(str(path)))
    if "background" not in names or len(names) < 2:
        raise InputError(
            f'{str(path)!r}: mask_values must call one value "background", and name at least one '
            f'class beside it; "{IGNORED}" is for pixels that do not count'
        )
    return tuple(found)
