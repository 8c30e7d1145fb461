"""Flags that several verbs share: the axes of a sweep, a suite, a configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.grid import AXES, Grid, read_config, with_axes
from benchmark.suites import suites

RUNS = Path("runs")


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Add one flag per axis, `--suite` and `--config`."""
    parser.add_argument("--suite", help="named grid of cells; see `list suites`")
    parser.add_argument("--config", type=Path, help="TOML file with the same keys as these flags")
    for name, (_, text) in AXES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="A,B", help=text)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`."""
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of records (default: runs)")


def grids(arguments: argparse.Namespace) -> list[Grid]:
    """Return the grids asked for: a suite (or the default), changed by the file, then by flags."""
    config = read_config(arguments.config) if arguments.config else {}
    suite = arguments.suite or config.pop("suite", None) or "default"
    flags = {name: getattr(arguments, name) for name in AXES}
    return [with_axes(with_axes(grid, config), flags) for grid in suites[suite]()]
