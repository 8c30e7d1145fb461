"""Predict new images with a trained cell: probabilities, or masks in the original size."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands._axes import a_path, add_cell, flag, trained_cell
from benchmark.core.numbers import PROBABILITY
from benchmark.core.registry import InputError

if TYPE_CHECKING:
    import numpy as np

    from benchmark.data.readers.declared import Declaration
    from benchmark.trained import Trained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_cell(parser)
    parser.add_argument(
        "images", nargs="+", type=a_path, help="pictures, DICOM files, NIfTI volumes, or folders"
    )
    parser.add_argument("--out", type=a_path, required=True, help="a .csv, or a folder for masks")
    parser.add_argument(
        "--threshold",
        type=flag(PROBABILITY),
        help="of two classes: the second is predicted from this probability on",
    )


@dataclass(frozen=True)
class Input:
    """A picture, or a slice of a volume, with what is declared beside it; `name` is for tables."""

    name: str
    path: Path
    declared: Declaration
    slice: int | None = None
    axis: int = 2

    def read(self) -> np.ndarray:
        """Return (H, W, 3) uint8, read as training reads it."""
        from benchmark.data.readers import images, volumes

        if self.slice is None:
            return images.read_rgb(self.path, self.declared)
        return volumes.read_slice(self.path, self.slice, None, self.axis, self.declared)


def run(arguments: argparse.Namespace) -> int:
    """Predict, write, and say where; return the exit code."""
    trained = trained_cell(arguments)
    inputs = inputs_of(arguments.images, trained.declared)
    write = _masks if trained.task == "segmentation" else _table
    write(trained, inputs, arguments.out, arguments.threshold)
    print(f"{len(inputs)} images -> {arguments.out}")
    return 0


def inputs_of(places: list[Path], trained: Declaration) -> list[Input]:
    """Return the images that files and folders name, folders sorted, volumes cut into slices.

    They are read as `trained` declares, and as a dataset.toml beside them does. What a folder holds
    besides is counted in a note; an image that is named twice is one.

    Raises:
        InputError: a path that does not exist, a folder without an image, or a dataset.toml that
            says another thing than `trained`.
    """
    from benchmark.data.readers import declared, volumes

    found: list[Input] = []
    seen: set[str] = set()
    for place in places:
        if not place.exists():
            raise InputError(f"there is no image or folder {str(place)!r}")
        inside = [place]
        if place.is_dir():
            inside = _images(place)
        told = declared.beside(place if place.is_dir() else place.parent / "x.csv")
        told = declared.read_alike(told, trained)
        for path in inside:
            if (same := os.path.normpath(path.absolute())) in seen:
                continue
            seen.add(same)
            if not volumes.is_volume(path):
                found.append(Input(str(path), path, told))
                continue
            geometry = volumes.geometry_of_image(path, told)
            axis = volumes.AXES.get(told.slice_axis, 2 if geometry.axis is None else geometry.axis)
            found += [
                Input(f"{path}/{'xyz'[axis]}{k:03d}", path, told, k, axis)
                for k in range(geometry.shape[axis])
            ]
    return found


def _images(folder: Path) -> list[Path]:
    """Return what a folder of a training set would give as images, and say what is left out."""
    from benchmark.core.notes import note
    from benchmark.data.base import many
    from benchmark.data.readers import declared
    from benchmark.data.readers.folder import is_image, shows_nothing
    from benchmark.data.readers.layout import is_hidden

    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(is_hidden, path.relative_to(folder).parts))
    ]
    found = [path for path in files if not shows_nothing(path) and is_image(path)]
    if not found:
        raise InputError(f"the folder {str(folder)!r} holds no image")
    images = set(found)
    left = [p for p in files if p not in images and p.name.lower() != declared.NAME]
    if left:
        told = many(len(left), "file that is no image", "files that are no images")
        print(note(f"left out in {str(folder)!r}: {told}, such as {left[0].name!r}"))
    return found


def _table(trained: Trained, inputs: list[Input], out: Path, threshold: float | None) -> None:
    from benchmark.core import escape
    from benchmark.core.files import check_writable, write_text

    if out.suffix != ".csv":
        raise InputError(f"this cell classifies: --out {str(out)!r} must end in .csv")
    if out.is_dir():
        raise InputError(f"--out {str(out)!r} is a folder; name a file")
    check_writable(out)
    if out.exists() and not out.read_text(errors="replace").startswith("image,prediction,prob_"):
        raise InputError(f"--out {str(out)!r} exists and holds no predictions; name another file")
    known = {one.name: one for one in inputs}
    table = trained.predict(list(known), threshold, lambda name: known[str(name)].read())
    write_text(out, escape.csv(table))


def _masks(trained: Trained, inputs: list[Input], out: Path, threshold: float | None) -> None:
    """Write one mask per picture as PNG, and one per volume as NIfTI with its affine."""
    from PIL import Image

    from benchmark.core.files import filled
    from benchmark.data.readers import volumes

    targets = _targets(inputs, out)
    known = {one.name: one for one in inputs}
    slices: list[np.ndarray] = []
    with filled(out, targets.values()) as folder:
        for name, mask in trained.masks(list(known), threshold, lambda n: known[str(n)].read()):
            one = known[str(name)]
            place = folder / targets[one.path]
            if one.slice is None:
                Image.fromarray(mask).save(place)
                continue
            slices.append(mask)
            geometry = volumes.geometry(one.path, one.declared)
            if len(slices) == geometry.shape[one.axis]:
                volumes.write_mask(one.path, place, slices, one.axis, one.declared)
                slices = []


def _targets(inputs: list[Input], out: Path) -> dict[Path, str]:
    """Return the name of each input's mask; two of one name, and inputs in `out`, are refused."""
    from benchmark.core.files import refuse_inside
    from benchmark.data.readers import dicom, images, volumes

    def name(path: Path) -> str:
        if volumes.is_volume(path):
            return path.name
        # what follows the last dot of 1.2.840.17 is a number, no ending
        known = path.suffix.lower() in images.SUFFIXES | dicom.SUFFIXES
        return f"{path.stem if known else path.name}.png"

    if out.suffix or out.is_file():
        raise InputError(f"this cell segments: --out {str(out)!r} must be a folder for masks")
    paths = list(dict.fromkeys(one.path for one in inputs))
    refuse_inside(out, paths)
    named = {path: name(path) for path in paths}
    names = list(named.values())
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"several images would write the mask {twice[0]!r}; predict them apart")
    return named
