"""`dataset.toml`: what its owner declares of a data set where the files alone do not settle it.

The file lies beside the data: FOLDER/dataset.toml, and for X.csv or X.npz also X.toml, which counts
first. Everything in it is checked; an unknown key is an error, never ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmark.core.files import read_toml
from benchmark.core.registry import InputError, unknown

NAME = "dataset.toml"
IGNORED = "ignore"  # a mask value of this name is counted by no loss and no metric
_CHOICES = {
    "orientation": ("canonical", "stored"),
    "slice_axis": ("thickest", "sagittal", "coronal", "axial"),
    "pages": ("first",),
    "alpha": ("drop", "black", "white"),
}


@dataclass(frozen=True)
class Declaration:
    """The keys of dataset.toml; an empty value declares nothing.

    `classes` names the labels in order, or the mask values 0, 1, 2, ... (the background first).
    `mask_values` maps each value of a mask, or its colour "#rrggbb", to the name of its class, in
    the order of the classes ("background" is always the first, "ignore" is none); several values
    may share one. From `mask_threshold` on, a grey level is the foreground. `group` is the column
    of a manifest that holds the patient; in a folder tree it is "folder" or "image". `window` are
    the grey values that become black and white.
    """

    classes: tuple[str, ...] = ()
    ordinal: bool | None = None
    multilabel: bool | None = None
    mask_values: tuple[tuple[str, str], ...] = ()
    mask_threshold: int = 0
    group: str = ""
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


def beside(path: Path) -> Declaration:
    """Return what is declared for a folder, a CSV or an archive; PLAIN where there is no file.

    Raises:
        InputError: a file that is no TOML, an unknown key, or a value that is not allowed.
    """
    # two tables in one folder may need two declarations: that of its own name counts first
    places = [path / NAME] if path.is_dir() else [path.with_suffix(".toml"), path.parent / NAME]
    for place in places:
        if place.is_file():
            return read(place)
    return PLAIN


def read(path: Path) -> Declaration:
    """Return the declaration in a TOML file, checked."""
    values = read_toml(path)
    known = {item.name for item in fields(Declaration)} - {"origin"}
    for key in values:
        if key not in known:  # a misspelt key, ignored, would be a declaration without effect
            raise unknown(f"key in {str(path)!r}:", key, known)
    return Declaration(
        **{key: _checked(path, key, values[key]) for key in values}, origin=str(path)
    )


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
        texts = isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
        if not texts or len({*value}) != len(value) or len(value) < 2:
            raise refuse('a list of at least two different names, such as ["benign", "malignant"]')
        return tuple(value)
    if key == "mask_values":
        return _mask_values(path, value)
    if key == "mask_threshold":
        # `type`, because True is an int to isinstance
        if type(value) is not int or not 1 <= value <= 65535:
            raise refuse("a grey level of at least 1, such as 128")
        return value
    if key == "window" and value != "percentiles":
        if not isinstance(value, list) or [type(v) in (int, float) for v in value] != [True, True]:
            raise refuse('two numbers such as [-125, 275], or "percentiles"')
        if not value[0] < value[1]:
            raise refuse("two numbers of which the first is less")
        return (float(value[0]), float(value[1]))
    if not isinstance(value, str) or not value.strip():
        raise refuse("a text")
    return value


def _mask_values(path: Path, value: Any) -> tuple[tuple[str, str], ...]:
    """Return (value, class name) of each declared mask value, in the order of the file."""
    example = '{"0" = "background", "255" = "lesion"} or {"#000000" = "background", ...}'
    if not isinstance(value, dict) or len(value) < 2:
        raise InputError(f"{str(path)!r}: mask_values must be a table such as {example}")
    for code, name in value.items():
        colour = len(code) == 7 and code.startswith("#")
        try:
            int(code[1:], 16) if colour else int(code)
        except ValueError:
            colour, code = False, ""
        if not code or not isinstance(name, str) or not name.strip():
            raise InputError(f"{str(path)!r}: mask_values must be a table such as {example}")
    found = tuple((code.lower() if code.startswith("#") else code, n) for code, n in value.items())
    if len({code.startswith("#") for code, _ in found}) == 2:
        raise InputError(f"{str(path)!r}: mask_values holds numbers and colours; use one of them")
    # class 0 is the background everywhere: in the loss, in Dice, in the head
    names = {name for _, name in found} - {IGNORED}
    if "background" not in names or len(names) < 2:
        raise InputError(
            f'{str(path)!r}: mask_values must call one value "background", and name at least one '
            f'class beside it; "{IGNORED}" is for pixels that do not count'
        )
    return found
