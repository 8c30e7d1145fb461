"""Predict new images with a trained cell: probabilities, or masks in the original size."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands._axes import add_runs
from benchmark.core.registry import InputError

if TYPE_CHECKING:
    from benchmark.trained import Trained

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("cell", help="folder of a finished cell, or the first digits of its key")
    parser.add_argument("images", nargs="+", type=Path, help="images, or folders of images")
    parser.add_argument("--out", type=Path, required=True, help="a .csv, or a folder for masks")
    parser.add_argument("--threshold", type=float, help="two classes: predict the second from here")
    parser.add_argument("--weights", metavar="BACKBONE", help="such as file:PATH@NAME")
    add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict, write, and say where; return the exit code."""
    from benchmark.trained import find, load

    paths = images_of(arguments.images)
    trained = load(find(arguments.cell, arguments.runs), arguments.weights)
    write = _masks if trained.task == "segmentation" else _table
    write(trained, paths, arguments.out, arguments.threshold)
    print(f"{len(paths)} images -> {arguments.out}")
    return 0


def images_of(places: list[Path]) -> list[Path]:
    """Return the images that files and folders name, folders sorted.

    Raises:
        InputError: a path that does not exist, or a folder without an image.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not place.exists():
            raise InputError(f"there is no image or folder {str(place)!r}")
        if place.is_dir() and not inside:
            raise InputError(f"the folder {str(place)!r} holds no image ({', '.join(SUFFIXES)})")
        found += inside if place.is_dir() else [place]
    return found


def _table(trained: Trained, paths: list[Path], out: Path, threshold: float | None) -> None:
    from benchmark.core.files import write_text

    if out.suffix != ".csv":
        raise InputError(f"this cell classifies: --out {str(out)!r} must end in .csv")
    write_text(out, trained.predict(paths, threshold).to_csv(index=False))


def _masks(trained: Trained, paths: list[Path], out: Path, threshold: float | None) -> None:
    from PIL import Image

    if out.suffix:
        raise InputError(f"this cell segments: --out {str(out)!r} must be a folder for masks")
    names = [path.with_suffix(".png").name for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"several images would write the mask {twice[0]!r}; predict them apart")
    out.mkdir(parents=True, exist_ok=True)
    for path, mask in trained.masks(paths, threshold):
        Image.fromarray(mask).save(out / path.with_suffix(".png").name)
