"""Scores of others: a CSV of method, data set, seed and score, as a frame like that of records.

The statistics, tables and figures of this project then hold for results that it did not train.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.cell import Cell
from benchmark.core.files import digest, text_stream
from benchmark.core.registry import InputError
from benchmark.scores import metric_of
from results.frame.rows import BESIDE, FINISHED

SCORES = ("score", "percent")  # as records store it (a share of 0 to 1), or x 100
NUMBERS: dict[str, Callable[[str], float]] = {
    **dict.fromkeys(("seed", "split_seed", "image_size", "shots", "labels"), int),
    **dict.fromkeys(("trainable_params", "backbone_params", "delta_bytes", "full_bytes"), int),
    "fraction": float,
}
NAMES = ("method", "dataset", "metric", "backbone")
REQUIRED = ("method", "dataset", "seed")
# what tells one row from another; a second row of the same names would be averaged as a seed
IDENTITY = ("method", "dataset", "metric", "backbone", "image_size", "fraction", "shots")


def read(path: Path, metric: str | None = None) -> pd.DataFrame:
    """Return the rows of a CSV of scores, in the columns of `results.frame.Frame.rows`.

    The header names `method`, `dataset`, `seed` and either `score` or `percent`, and whatever it
    has of `metric`, `backbone`, `fraction`, `shots`, `image_size`, `split_seed`, `labels`,
    `trainable_params`, `backbone_params`, `delta_bytes` and `full_bytes`. `metric` is the metric of
    rows that name none.

    Raises:
        InputError: for a file that cannot be read, a header or value that is not as above, or two
            rows of one method, data set and seed. It names the line.
    """
    try:
        lines = list(csv.reader(text_stream(path), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV ({error})") from None
    header = [name.strip() for name in lines[0]] if lines else []
    _check_header(path, header)
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(value.strip() for value in line):
            continue
        if len(line) != len(header):
            raise InputError(
                f"{path}, line {number} has {len(line)} values, the header {len(header)}; quote "
                "values that hold a comma"
            )
        values = dict(zip(header, map(str.strip, line), strict=True))
        row = _row(f"{path}, line {number}", values, metric)
        identity = tuple(row[name] for name in (*IDENTITY, "split_seed", "seed"))
        if identity in seen:
            raise InputError(
                f"{path}, lines {seen[identity]} and {number} are one run twice: {row['method']} "
                f"on {row['dataset']}, seed {row['seed']}; give each its own seed, or delete one"
            )
        seen[identity] = number
        key = digest(repr((str(path), identity)))
        rows.append({**row, "key": key, "folder": str(path)})
    if not rows:
        raise InputError(f"{path} holds no score under its header")
    return pd.DataFrame(rows)


def _check_header(path: Path, header: list[str]) -> None:
    allowed = (*NAMES, *NUMBERS, *SCORES)
    if len(set(header)) < len(header) or (unknown := [n for n in header if n not in allowed]):
        wrong = "a column twice" if len(set(header)) < len(header) else f"columns {unknown}"
        raise InputError(f"{path} has {wrong}; allowed: {', '.join(allowed)}")
    lacking = [name for name in REQUIRED if name not in header]
    if lacking or sum(name in header for name in SCORES) != 1:
        raise InputError(
            f"{path} needs the columns {', '.join(REQUIRED)} and one of score (a share from 0 to "
            f"1, as records store it) and percent; it has {', '.join(header) or 'none'}"
        )


def _row(where: str, values: Mapping[str, str], metric: str | None) -> dict[str, Any]:
    """Return one row; `where` names file and line."""
    parsed: dict[str, Any] = {}
    for name, text in values.items():
        if not text and name in (*REQUIRED, *SCORES):
            raise InputError(f"{where} has no {name}; fill it in, or delete the line")
        if text:
            kind = NUMBERS.get(name, float if name in SCORES else str)
            try:
                parsed[name] = kind(text)
            except ValueError:
                raise InputError(f"{where}: {name} {text!r} is not a number") from None
    shown = parsed.get("metric") or metric
    if shown is None:
        raise InputError(f"{where} names no metric; add a column metric, or give --metric")
    score, task = _score(where, parsed, shown), metric_of(shown).tasks[0]
    defaults = {f.name: f.default for f in fields(Cell) if f.default is not MISSING}
    return {
        **defaults,
        **dict.fromkeys(("data", "backbone", "weights", "normalize"), ""),
        "image_size": 0,
        **dict.fromkeys(FINISHED, float("nan")),
        "device": "",
        **dict.fromkeys(("sources", "group_note"), ""),
        **{f"has_{name.partition('.')[0]}": False for name in BESIDE},
        **{
            "labels": 0,
            "synthetic": False,
            "classes": (),
            "task": task,
            "ordinal": False,
        },
        **{n: v for n, v in parsed.items() if n not in SCORES},
        **{"state": "done", "metric": shown, f"test_{shown}": score, f"val_{shown}": None},
    }


def _score(where: str, parsed: Mapping[str, Any], metric: str) -> float:
    """Return the score as records store it: a share as a fraction."""
    found = metric_of(metric)
    (name,) = (name for name in SCORES if name in parsed)
    value = float(parsed[name])
    if not abs(value) < float("inf"):
        raise InputError(f"{where}: {name} {value} is not a finite number")
    if not found.is_share:
        if name == "percent":
            raise InputError(f"{where}: {metric} is in {found.unit}, not in percent; name it score")
        return value
    if name == "percent":
        value /= 100
    # 71.5 for .715 is the usual slip, and would be printed as 7150
    if abs(value) > 1:
        remedy = "more than 100" if name == "percent" else "above 1; name the column percent"
        raise InputError(f"{where}: {metric} {parsed[name]:g} is {remedy}")
    return value
