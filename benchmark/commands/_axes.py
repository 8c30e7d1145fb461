"""Flags that several verbs share: the axes of a sweep, a suite, a configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.sweep.grid import AXES, Grid, read_config, with_axes, with_budget
from benchmark.sweep.suites import suites

RUNS = Path("runs")


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Add one flag per axis, `--suite` and `--config`."""
    parser.add_argument("--suite", help="named grid of cells; see `list suites`")
    parser.add_argument("--config", type=Path, help="TOML file with the same keys as these flags")
    for name, (_, text) in AXES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="A,B", help=text)


def add_tuning(parser: argparse.ArgumentParser) -> None:
    """Add `--tune` and `--tune-budget`."""
    parser.add_argument(
        "--tune", action="append", default=[], metavar="NAME=A,B", help="each value is a trial"
    )
    parser.add_argument(
        "--tune-budget", type=int, metavar="N", help="trials of every method, from its own ranges"
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`."""
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of records (default: runs)")


def grids(arguments: argparse.Namespace) -> list[Grid]:
    """Return the grids asked for: a suite (or the default), changed by the file, then by flags."""
    config = read_config(arguments.config) if arguments.config else {}
    suite = arguments.suite or config.pop("suite", None) or "default"
    flags = {name: getattr(arguments, name) for name in AXES}
    if getattr(arguments, "tune", None):
        from benchmark.sweep.tuning import read_tuned

        flags |= read_tuned(arguments.tune)
    found = [with_axes(with_axes(grid, config), flags) for grid in suites[suite]()]
    budget = getattr(arguments, "tune_budget", None)
    return found if budget is None else [with_budget(grid, budget) for grid in found]
