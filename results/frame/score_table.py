"""Scores of others: a CSV of method, data set, seed and score, as a frame like that of records.

The statistics, tables and figures of this project then hold for results that it did not train.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.cell import Cell
from benchmark.core.files import digest, text_stream
from benchmark.core.numbers import COUNT, FROM_ZERO, Number
from benchmark.core.registry import InputError
from benchmark.core.spelling import check_spelled_alike
from benchmark.scores import metric_of
from results.frame.rows import BESIDE, FINISHED

SCORES = ("score", "percent")  # as records store it (a share of 0 to 1), or x 100
NUMBERS: dict[str, Number[Any]] = {
    **dict.fromkeys(("seed", "split_seed", "image_size", "shots", "labels"), FROM_ZERO),
    **dict.fromkeys(("trainable_params", "delta_bytes"), FROM_ZERO),
    **dict.fromkeys(("backbone_params", "full_bytes"), COUNT),
    "fraction": Number(float, above=0, most=1),
    **dict.fromkeys(SCORES, Number(float)),
}
NAMES = ("method", "dataset", "metric", "backbone")
REQUIRED = ("method", "dataset", "seed")
# what tells one run from another; a second one of the same names would be averaged as a seed
IDENTITY = ("method", "dataset", "backbone", "image_size", "fraction", "shots")
RUN = (*IDENTITY, "split_seed", "seed")


def read(path: Path, metric: str | None = None) -> pd.DataFrame:
    """Return the rows of a CSV of scores, in the columns of `results.frame.Frame.rows`.

    The header names `method`, `dataset`, `seed` and either `score` or `percent`, and whatever it
    has of `metric`, `backbone`, `fraction`, `shots`, `image_size`, `split_seed`, `labels`,
    `trainable_params`, `backbone_params`, `delta_bytes` and `full_bytes`. `metric` is the metric of
    rows that name none. Several metrics of one run make one row, whose `metric` is the first that
    the file has of its data set.

    Raises:
        InputError: for a file that cannot be read, a header or value that is not as above, or two
            rows of one method, data set and seed. It names the line.
    """
    try:
        lines = list(csv.reader(text_stream(path), strict=True))
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; save it so (in Excel: CSV UTF-8)") from None
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as CSV ({reason})") from None
    header = [name.strip() for name in lines[0]] if lines else []
    _check_header(path, header)
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    first: dict[str, str] = {}  # metric of each data set
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
        run, shown = tuple(row[name] for name in RUN), row["metric"]
        if (run, shown) in seen:
            raise InputError(
                f"{path}, lines {seen[run, shown]} and {number} are one run twice: {row['method']} "
                f"on {row['dataset']}, seed {row['seed']}; give each its own seed, or delete one"
            )
        seen[run, shown] = number
        row |= {"metric": first.setdefault(row["dataset"], shown), "folder": str(path)}
        runs[run] = _joined(f"{path}, line {number}", runs.get(run, {}), row)
    if not runs:
        raise InputError(f"{path} holds no score under its header")
    for name in ("method", "dataset"):
        check_spelled_alike(dict.fromkeys(r[name] for r in runs.values()), f"{name}s", str(path))
    return pd.DataFrame({**row, "key": digest(repr((str(path), run)))} for run, row in runs.items())


def _joined(where: str, known: Mapping[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a run with the scores of `known`, what earlier lines say of it."""
    for name in NUMBERS:
        one, other = known.get(name), row.get(name)
        if one is not None and one == one and one != other:  # NaN: not given
            raise InputError(f"{where}: {name} {other} is {one} in another line of the same run")
    # of the metrics of other lines this one knows nothing
    return {**row, **{n: v for n, v in known.items() if n.startswith(("test_", "val_"))}}


def others(rows: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence on metrics of a CSV that are not the first of their data set."""
    names = [name for name in rows.columns if name.startswith("test_")]
    rest = [
        name.removeprefix("test_")
        for name in names
        if (rows[name].notna() & (name != "test_" + rows["metric"])).any()
    ]
    if rest:
        yield (
            f"{rows['folder'].iloc[0]}: the tables show the first metric of each data set; "
            f"--metric {rest[0]} shows another" + f" (also: {', '.join(rest[1:])})" * bool(rest[1:])
        )


def check_alone(rows: pd.DataFrame) -> None:
    """Raise InputError for a run of a CSV that another CSV, or a record, holds as well."""
    given = rows["folder"].map(str).str.endswith(".csv")
    if not given.any():
        return
    done = rows[rows["state"] == "done"]
    for _, same in done.groupby(list(RUN), sort=False):
        places = list(dict.fromkeys(same["folder"].map(str)))
        if len(places) > 1 and any(place.endswith(".csv") for place in places):
            run = same.iloc[0]
            raise InputError(
                f"{places[0]} and {places[1]} both hold {run['method']} on {run['dataset']}, seed "
                f"{run['seed']}: one run would count twice; delete one"
            )


def _check_header(path: Path, header: list[str]) -> None:
    allowed = (*NAMES, *NUMBERS)
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
        if not text.isprintable():
            raise InputError(f"{where}: {name} {text!r} holds signs that cannot be shown")
        if text:
            number = NUMBERS.get(name)
            parsed[name] = text if number is None else number.read(text, f"{where}: {name}")
    shown = parsed.get("metric") or metric
    if shown is None:
        raise InputError(f"{where} names no metric; add a column metric, or give --metric")
    score, task = _score(where, parsed, shown), metric_of(shown).tasks[0]
    defaults = {f.name: f.default for f in fields(Cell) if f.default is not MISSING}
    return {
        **defaults,
        **dict.fromkeys(("data", "backbone", "weights", "normalize", "precision"), ""),
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
    corrects_chance = found.range[0] < 0  # as kappa does: below 0, and close to it
    if value < 0 and not corrects_chance:
        raise InputError(f"{where}: {metric} {value:g} is below 0")
    if not found.is_share:
        if name == "percent":
            raise InputError(f"{where}: {metric} is in {found.unit}, not in percent; name it score")
        return value
    if name == "percent":
        # .715 for 71.5 would be printed as 0.7
        if 0 < value <= 1 and found.higher_is_better and not corrects_chance:
            raise InputError(
                f"{where}: {metric} {value:g} is 1 percent or less; name the column score and give "
                "shares, such as 0.715 for 71.5 percent"
            )
        value /= 100
    # 71.5 for .715 is the usual slip, and would be printed as 7150
    if abs(value) > 1:
        remedy = "more than 100" if name == "percent" else "above 1; name the column percent"
        raise InputError(f"{where}: {metric} {parsed[name]:g} is {remedy}")
    return value
