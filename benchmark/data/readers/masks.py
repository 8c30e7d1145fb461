"""Which class each value of a mask is: one coding for a whole set, or a refusal that names files.

The values of each file are looked at by themselves. Where files disagree, pooled values would turn
the lesions of one half of a set into "ignored"; nothing is guessed then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.registry import InputError
from benchmark.data.base import IGNORE
from benchmark.data.readers import images, volumes
from benchmark.data.readers.declared import IGNORED, Declaration, completed

MOST_CLASSES = 31  # of the foreground: their set is kept as bits
_MOST_VALUES = 64  # noted of one file; more are no class numbers


@dataclass(frozen=True)
class Coding:
    """The classes of a set (background first), and what turns the numbers of a file into them.

    `table` maps a number to its class; None: the numbers are the classes already. From `threshold`
    on, where it is not 0, a number is the foreground.
    """

    classes: tuple[str, ...]
    table: Mapping[int, int] | None = None
    threshold: int = 0

    def __call__(self, codes: np.ndarray, name: str) -> np.ndarray:
        """Return the classes uint8 of `codes`, the numbers of the mask called `name`."""
        if self.threshold:
            return (codes >= self.threshold).astype(np.uint8)
        if self.table is None:
            return images.as_bytes(codes, name)
        if codes.dtype == np.uint8:  # a lookup, where sorting a large mask would take longer
            lookup = np.array([self.table.get(v, -1) for v in range(256)], np.int16)
            classes = lookup[codes]
            if classes.min(initial=0) < 0:
                raise _undeclared(int(codes[classes < 0][0]), name)
            return classes.astype(np.uint8)
        values, inverse = np.unique(codes, return_inverse=True)
        for value in values:
            if int(value) not in self.table:
                raise _undeclared(int(value), name)
        return np.array([self.table[int(v)] for v in values], np.uint8)[
            inverse.reshape(codes.shape)
        ]


def declaration(coding: Coding, declared: Declaration, values: Collection[int]) -> dict[str, Any]:
    """Return the keys of a dataset.toml by which masks with these `values` are read the same."""
    if declared.mask_values:
        return completed(declared)
    if declared.mask_threshold or declared.classes:
        return completed(declared, classes=coding.classes)
    table = coding.table or {k: k for k in range(len(coding.classes))}
    named = [(str(value), coding.classes[k]) for value, k in table.items()]
    if IGNORE in values and IGNORE not in table:
        named.append((str(IGNORE), IGNORED))
    return completed(declared, mask_values=tuple(named))


def facts(path: Path, declared: Declaration) -> dict[str, Any]:
    """Return what a mask file holds, as JSON values: read once, and then remembered.

    `values` lists [number, pixels, whether two by two of them touch] in ascending order; `palette`
    is its colours or None; `lossy`: its numbers may be changed; `slices` (volumes only) are the
    numbers of each slice, for each axis.
    """
    if volumes.is_volume(path):
        codes = volumes.read_codes(path, declared)
        slices = [
            [_ends(np.unique(codes.take(z, axis)).tolist()) for z in range(count)]
            for axis, count in enumerate(codes.shape)
        ]
        flat = codes.reshape(codes.shape[0], -1)
        return {"values": _values(flat), "palette": None, "lossy": False, "slices": slices}
    return {
        "values": _values(images.read_codes(path, declared)),
        "palette": images.describe_palette(path),
        "lossy": images.is_lossy(path),
    }


def _ends(values: list[Any]) -> list[Any]:
    """Return ascending `values` without the middle where they are too many: the ends tell most."""
    return values if len(values) <= _MOST_VALUES else [*values[: _MOST_VALUES - 1], values[-1]]


def _values(codes: np.ndarray) -> list[list[int]]:
    values, counts = np.unique(codes, return_counts=True)
    # four equal pixels in a square: a smoothed edge is one pixel wide and never has them
    same = (codes[1:, 1:] == codes[:-1, :-1]) & (codes[1:, :-1] == codes[:-1, :-1])
    solid = set(np.unique(codes[:-1, :-1][same & (codes[:-1, 1:] == codes[:-1, :-1])]).tolist())
    return _ends([[int(v), int(n), int(v in solid)] for v, n in zip(values, counts, strict=True)])


def coding(
    found: Sequence[tuple[Path, dict[str, Any]]], declared: Declaration, origin: str
) -> Coding:
    """Return the coding of a set from the `facts` of each of its mask files.

    Undeclared, 0 and 255 alone are background and foreground; else the values are the classes
    0, 1, 2, ... and 255 is ignored.

    Raises:
        InputError: files that disagree, values that skip a number, edges that were smoothed.
    """
    if declared.mask_threshold:
        names = declared.classes or ("background", "foreground")
        if len(names) != 2:
            raise InputError(f"{declared.origin!r}: mask_threshold makes two classes, not {names}")
        _check_shown(
            {int(v >= declared.mask_threshold) for _, f in found for v, _, _ in f["values"]}, origin
        )
        return Coding(names, threshold=declared.mask_threshold)
    if declared.mask_values:
        return _declared(found, declared, origin)
    _check_palettes(found)
    shown: dict[int, Path] = {}
    for path, fact in found:
        for value, _, _ in fact["values"]:
            shown.setdefault(value, path)
    _check_range(found, shown)
    values = set(shown)
    # only where this holds of all files together: one file with a 1 makes 255 something else
    if values == {0, IGNORE}:
        names = declared.classes or ("background", "foreground")
        if len(names) != 2:
            raise InputError(
                f"{declared.origin!r} names {len(names)} classes; the masks hold 0 and 255 only"
            )
        return Coding(names, {0: 0, IGNORE: 1})
    highest = max(values - {IGNORE}, default=0)
    if highest < 1:
        raise InputError(f"{origin} has one class only: every mask is empty")
    lossy = (path for path, f in found if f["lossy"] and any(v for v, _, _ in f["values"]))
    # values move by some levels: of 0 and 255 each stays, of 0, 1 and 2 one becomes another
    if changed := next(lossy, None):
        raise InputError(
            f"the mask {str(changed)!r} is stored with loss, which changes class numbers; save it "
            "as PNG from its source"
        )
    _check_agreement(found, highest)
    if declared.classes:
        if highest >= len(declared.classes):
            raise InputError(
                f"the mask {str(shown[highest])!r} holds {highest}; {declared.origin!r} names the "
                f"classes 0 to {len(declared.classes) - 1}"
            )
        return Coding(declared.classes)
    _check_classes(found, shown, highest)
    return Coding(("background", *(f"class{i}" for i in range(1, highest + 1))))


def _declared(
    found: Sequence[tuple[Path, dict[str, Any]]], declared: Declaration, origin: str
) -> Coding:
    codes = declared.codes
    names = (
        "background",
        *dict.fromkeys(n for n in codes.values() if n not in ("background", IGNORED)),
    )
    table = {v: IGNORE if name == IGNORED else names.index(name) for v, name in codes.items()}
    for path, fact in found:
        for value, _, _ in fact["values"]:
            if value not in table:
                raise _undeclared(value, str(path))
    _check_shown({table[v] for _, f in found for v, _, _ in f["values"]}, origin)
    return Coding(names, table)


def _check_shown(classes: set[int], origin: str) -> None:
    if not classes - {0, IGNORE}:
        raise InputError(f"{origin} has one class only: every mask is empty")


def _undeclared(value: int, name: str) -> InputError:
    shown = f"#{value:06x}" if value > 65535 else str(value)
    return InputError(
        f"the mask {name!r} holds {shown}, which mask_values in dataset.toml does not name; "
        f'add it, if need be as "{IGNORED}"'
    )


def _check_palettes(found: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Raise InputError where two files give the same index another colour."""
    colours: dict[int, tuple[list[int], Path]] = {}
    for path, fact in found:
        palette = fact["palette"]
        # black and white palettes were read by their colours
        if palette is None or {tuple(c) for c in palette} <= {(0, 0, 0), (255, 255, 255)}:
            continue
        for value, _, _ in fact["values"]:
            if value < len(palette):
                colour, first = colours.setdefault(value, (palette[value], path))
                if colour != palette[value]:
                    raise InputError(
                        f"index {value} is the colour {tuple(colour)} in the palette of the mask "
                        f"{str(first)!r} and {tuple(palette[value])} in that of {str(path)!r}; "
                        'declare the colours: mask_values = {"#rrggbb" = "NAME", ...}'
                    )


def _check_range(found: Sequence[tuple[Path, dict[str, Any]]], shown: Mapping[int, Path]) -> None:
    """Raise InputError for numbers that are no classes, with what may have made them."""
    outside = [v for v in shown if not 0 <= v <= IGNORE or MOST_CLASSES < v < IGNORE]
    if not outside:
        return
    value = min(outside) if min(outside) < 0 else max(outside)
    path = shown[value]
    fact = next(f for p, f in found if p == path)
    several = len(fact["values"]) > 3 and 0 <= value <= IGNORE
    reason = (
        "its edges look smoothed or stored with loss: declare mask_threshold = 128 in dataset.toml"
        if several
        else f"number the classes 0, 1, 2, ... ({IGNORE} is ignored), or declare mask_values in "
        "dataset.toml"
    )
    raise InputError(f"the mask {str(path)!r} holds the value {value}; {reason}")


def _check_agreement(found: Sequence[tuple[Path, dict[str, Any]]], highest: int) -> None:
    """Raise InputError where 255 looks like the foreground of one file, and not of another.

    A file that holds 255 beside a class tells that 255 is something else: ignored.
    """
    held = [(path, {v for v, _, _ in fact["values"]} - {0}) for path, fact in found]
    if any(IGNORE in values and len(values) > 1 for _, values in held):
        return
    only = next((path for path, values in held if values == {IGNORE}), None)
    other = next((path for path, values in held if values and IGNORE not in values), None)
    if only is not None and other is not None:
        raise InputError(
            f"the mask {str(only)!r} holds 0 and {IGNORE}, and {str(other)!r} the classes up to "
            f"{highest}; save both alike, or declare mask_values = "
            f'{{"0" = "background", "{highest}" = "NAME", "{IGNORE}" = "NAME" or "{IGNORED}"}}'
        )


def _check_classes(
    found: Sequence[tuple[Path, dict[str, Any]]], shown: Mapping[int, Path], highest: int
) -> None:
    """Raise InputError for classes that nothing shows, or that look like smoothed edges."""
    declare = "declare mask_values in dataset.toml"
    # 0, 1, 3: a class that nothing shows cannot be learned, and is often a wrong code
    gaps = [value for value in range(1, highest) if value not in shown]
    if gaps:
        raise InputError(
            f"the mask {str(shown[highest])!r} holds {highest}, and no mask holds {gaps[0]}; "
            f"number the classes without gaps, or {declare}"
        )
    seen: dict[int, list[tuple[int, int]]] = {}
    for _, fact in found:
        for value, pixels, solid in fact["values"]:
            seen.setdefault(value, []).append((pixels, solid))
    # antialiasing writes every level between 0 and the class, each in a line of single pixels
    thin = [v for v in range(1, highest) if not any(solid for _, solid in seen[v])]
    if len(thin) == highest - 1 > 1 and any(solid for _, solid in seen[highest]):
        raise InputError(
            f"the mask {str(shown[thin[0]])!r} holds the values 1 to {highest} and none but the "
            f"highest is ever wider than a pixel: smoothed edges; declare "
            "mask_threshold or mask_values in dataset.toml"
        )
    # a stray pixel would be a class of its own, with a head and a column of scores
    single = [v for v in range(1, highest + 1) if all(pixels == 1 for pixels, _ in seen[v])]
    if single and highest > 1:
        raise InputError(
            f"the value {single[0]} is one pixel in the mask {str(shown[single[0]])!r} and nowhere "
            f"more; correct it, or {declare}"
        )
