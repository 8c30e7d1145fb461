"""Flags that several verbs share: the axes of a sweep, and the folder of records."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.numbers import N, Number
from benchmark.core.registry import InputError
from benchmark.sweep.grid import AXES, BUDGET, CONVERGED, Grid
from benchmark.sweep.plan import PLANS
from benchmark.sweep.tuning import read_tuned

if TYPE_CHECKING:
    from benchmark.trained import Trained

RUNS = Path("runs")
WEIGHTS = "where weights of your own lie, such as file:PATH@NAME; others are found by their name"
OUT = "where to write (default: RUNS/report, or runs/report-NAME for records made elsewhere)"


def flag(number: Number[N]) -> Callable[[str], N]:
    """Return the `type` of a flag that takes such numbers; the parser says whose value it is."""

    def read(text: str) -> N:
        try:
            return number.read(text, "")
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None

    return read


def dashed(name: str) -> str:
    """Return "--image-size" of "image_size"."""
    return f"--{name.replace('_', '-')}"


def a_path(text: str) -> Path:
    """Return the path that a flag names; Python takes an empty one for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; name a file or folder, '.' for this one")
    return Path(text)


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Add one flag per axis, `--suite`, `--config`, `--tune` and `--tune-budget`."""
    parser.add_argument(
        "--suite", help="named grid of cells, see `list suites` (default: the suite default)"
    )
    parser.add_argument("--config", type=a_path, help="TOML file with the same keys as these flags")
    for name, (_, text) in AXES.items():
        values = ",".join(str(value) for value in getattr(Grid, name) if value is not None)
        default = f" (default: {values})" if values else ""
        parser.add_argument(dashed(name), metavar="A,B", help=text + default)
    parser.add_argument(
        "--tune",
        action="append",
        default=[],
        metavar="NAME=A,B",
        help="lr, weight-decay, ...: each value is a trial, the best on validation is reported",
    )
    parser.add_argument(
        "--tune-budget",
        type=flag(BUDGET),
        metavar="N",
        help="so many trials of every method, of rates drawn from the ranges that it declares; the "
        "best on validation is reported",
    )
    parser.add_argument(
        "--tuned-from",
        type=a_path,
        metavar="RUNS",
        help="train with the rates that trials (--tune-budget) in that folder chose",
    )
    most, spaced, patience = (CONVERGED[name][0] for name in ("steps", "evaluations", "patience"))
    parser.add_argument(
        "--until-converged",
        action="store_true",
        help="train each cell until validation stops improving, instead of equally long: patience "
        f"{patience}, at most {most:,} steps, {spaced} evaluations, unless given",
    )
    parser.add_argument("--max-steps", metavar="N", help="of --until-converged: at most so many")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`."""
    parser.add_argument(
        "--runs", type=a_path, default=RUNS, help="folder of records (default: runs)"
    )


def report_folder(runs: Path) -> Path:
    """Return where reports of `runs` go unless --out says otherwise.

    Below the folder where `run` made it; records that were got from elsewhere, such as those in a
    repository, are left as they are.
    """
    return runs / "report" if (runs / PLANS).is_dir() else RUNS / f"report-{runs.resolve().name}"


def axes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the axes that the flags give, those of `--tune` among them."""
    given = {name: getattr(arguments, name) for name in AXES}
    for name, values in read_tuned(arguments.tune).items():
        if given[name] is not None:
            raise InputError(f"--tune {name} and {dashed(name)} are both given")
        given[name] = values
    if arguments.max_steps is not None:
        if given["steps"] is not None:
            raise InputError("--max-steps and --steps are both given; they are the same axis")
        if not arguments.until_converged and given["patience"] in (None, "0"):
            raise InputError("--max-steps is for --until-converged; write --steps for all cells")
        given["steps"] = arguments.max_steps
    return given


def add_cell(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `trained_cell` reads."""
    parser.add_argument("cell", help="folder of a finished cell, or the first digits of its key")
    parser.add_argument("--weights", metavar="BACKBONE", help=WEIGHTS)
    add_allow_code(parser)
    add_runs(parser)


def trained_cell(arguments: argparse.Namespace) -> Trained:
    """Return the trained cell that the flags of `add_cell` name."""
    from benchmark import api

    given = arguments
    return api.load(given.cell, given.runs, weights=given.weights, allowed=given.allow_code)


def add_allow_code(parser: argparse.ArgumentParser) -> None:
    """Add `--allow-code`: a record may come from anybody, and names the module of its method."""
    parser.add_argument(
        "--allow-code",
        metavar="MODULE:CLASS",
        action="append",
        default=[],
        help="a method of your own whose code may run, if cells were trained with it; repeatable",
    )
