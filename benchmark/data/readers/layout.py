"""What a named data set on the disk is made of: a card, and a function that lists its rows.

A set's own file gives the card first, then the rows of the original download below its folder.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.core.registry import InputError
from benchmark.data.base import Card, Dataset, Entry, datasets
from benchmark.data.readers import table
from benchmark.data.readers.table import AS_IS, Reading, Row

GRADES = ("no_dr", "mild", "moderate", "severe", "proliferative")  # ICDR scale, 0 to 4


def add(card: Card, rows: Callable[[Path], list[Row]], reading: Reading = AS_IS) -> None:
    """Register a set; `rows` lists its images below the folder of the download."""

    def open_below(folder: Path) -> Dataset:
        found = rows(folder)
        table.check_rows(found, str(folder))
        make = table.classification if card.task == "classification" else table.segmentation
        return make(found, card, reading)

    datasets.add(card.name)(Entry(card, open_below))


def files(folder: Path, *patterns: str) -> list[Path]:
    """Return the files that match, sorted; none at all raises InputError."""
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if not found:
        raise InputError(
            f"there is no {' or '.join(patterns)} in {str(folder)!r}; unpack the original download "
            "there (`python -m benchmark data show NAME` tells its layout)"
        )
    return found


def one_of(root: Path, *names: str) -> Path:
    """Return the first of these paths below `root` that exists; releases differ in packing."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise InputError(
        f"there is no {' or '.join(names)} in {str(root)!r}; unpack the original download there "
        "(`python -m benchmark data show NAME` tells its layout)"
    )


def table_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV, cells stripped; a missing column raises InputError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [_stripped(line) for line in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r} ({error})") from None
    for column in columns:
        if not lines or column not in lines[0]:
            raise InputError(f"{str(path)!r} has no column {column!r}; get the original file")
    return lines


def _stripped(line: dict[str, str]) -> dict[str, str]:
    return {k.strip(): v.strip() for k, v in line.items() if isinstance(v, str)}


def existing(row: Row) -> Row:
    """Return `row`; a file that it names and that is missing raises InputError."""
    for path in (row.image, row.mask):
        if path is not None and not path.is_file():
            raise InputError(f"there is no {str(path)!r}; the download is not complete")
    return row


def fingerprint(*parts: str) -> str:
    """Return 16 hex digits over `parts`, for sets that are not made of rows."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
