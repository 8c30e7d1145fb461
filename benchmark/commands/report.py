"""Make tables and figures from the records of one or more folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands._axes import RUNS
from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import split_list

if TYPE_CHECKING:
    from results.reporting import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("--runs", type=Path, action="append", help="folder of records; repeatable")
    parser.add_argument("--out", type=Path, help="where to write (default: RUNS/report)")
    parser.add_argument(
        "--metric", help="instead of each data set's own, e.g. auc or balanced_accuracy"
    )
    parser.add_argument("--against", metavar="METHOD", help="what statistics compare with (full)")
    parser.add_argument(
        "--plan-seeds", type=float, metavar="D", help="how many seeds see a difference of D points"
    )
    parser.add_argument(
        "--latency",
        action="store_true",
        help="--efficiency, and time inference here",
    )
    parser.add_argument("--efficiency", action="store_true", help="show what the methods cost")
    parser.add_argument(
        "--rescore", action="store_true", help="first compute new scores from stored predictions"
    )
    parser.add_argument("--suite", help="only the cells of a suite; see `list suites`")
    parser.add_argument(
        "--ablation",
        metavar="AXIS",
        help="also a table over one axis, e.g. lr, image_size or dvpt.prompts",
    )
    _add_figures(parser)
    parser.add_argument("--format", default="terminal,markdown,csv,latex,html", metavar="A,B")


def _add_figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--figures",
        default="",
        metavar="A,B",
        help="more kinds of figures, see `list figures`; all; none",
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where --panels finds a data set or backbone that cells call NAME; repeatable",
    )
    parser.add_argument(
        "--panels",
        type=int,
        default=0,
        metavar="N",
        help="first read N test images again for the figures panels and attention",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write and show the report; return 1 when a record could not be read."""
    from benchmark.data.origins import lookup
    from results.reporting import FORMATS, Options, report

    runs = arguments.runs or [RUNS]
    formats = split_list(arguments.format)
    for name in formats:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    kinds, sources = _kinds(arguments), _sources(arguments.source)
    if arguments.rescore:
        _rescore(runs)
    if arguments.latency:
        _latency(runs)
    if arguments.panels:
        _panels(runs, arguments.panels, sources)
    out = arguments.out or runs[0] / "report"
    shown = arguments.efficiency or arguments.latency
    options = Options(
        arguments.metric,
        arguments.against,
        formats,
        arguments.plan_seeds,
        shown,
        kinds,
        ablation=arguments.ablation,
        lookup=lookup,
        keep=_of_suite(arguments.suite) if arguments.suite else None,
    )
    return show(report(runs, out, options=options))


def _of_suite(name: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return what says of a cell whether it is of the suite; resolving names takes torch."""
    from benchmark.sweep.matching import matches
    from benchmark.sweep.suites import suites

    grids = [matches(grid) for grid in suites[name]()]
    return lambda cell: any(grid(cell) for grid in grids)


def _rescore(folders: list[Path]) -> None:
    from benchmark.scores.rescore import rescore

    for folder in folders:
        count, faults = rescore(folder)
        print(f"{count} cells below {folder} were scored again")
        for fault in faults:
            print(f"not scored: {fault}", file=sys.stderr)


def _kinds(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the kinds of figures that the flags ask for."""
    from results.figures import KINDS, chosen

    if arguments.panels < 0:
        raise InputError(f"--panels {arguments.panels} is no number of images; give 1 or more")
    if arguments.figures == "none":
        return ()
    if arguments.figures == "all":
        return tuple(KINDS)
    read = ("panels", "attention") if arguments.panels else ()
    more = split_list(arguments.figures) if arguments.figures else []
    return chosen([*more, *read])


def _sources(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not (name and path):
            raise InputError(f"--source {pair!r} is not NAME=PATH, such as my_set=my/manifest.csv")
        found[name] = path
    return found


def _panels(folders: list[Path], num: int, sources: dict[str, str]) -> None:
    """Read test images and attention again; `results` cannot, it knows no torch."""
    from benchmark.trained.panels import write
    from benchmark.training.session import Session

    for folder in folders:
        paths, skipped = write(folder, Session(cache=folder / "cache", sources=sources), num)
        print(f"wrote {len(paths)} files to {folder / 'panels'}/")
        for reason in skipped:
            print(f"no panels of {reason}", file=sys.stderr)


def _latency(folders: list[Path]) -> None:
    """Time the methods of each folder; `results` cannot, it knows no torch."""
    from benchmark.bench.latency import write
    from benchmark.bench.timing import Watch
    from benchmark.training.session import best_device

    for folder in folders:
        print(f"wrote {write(folder, Watch(best_device()), batch=16)}")


def show(report: Report) -> int:
    """Print the table, what was written and what could not be read; return the exit code."""
    print(report.text)
    if report.paths:
        print(f"wrote to {report.paths[0].parent}/: {_listed(report.paths)}")
    for note in report.notes:
        print(note, file=sys.stderr)
    for fault in report.faults:
        print(f"not used: {fault}", file=sys.stderr)
    return 1 if report.faults else 0


def _listed(paths: Sequence[Path]) -> str:
    """Return the names of the files, each with all its endings."""
    endings: dict[str, list[str]] = {}
    for path in paths:
        endings.setdefault(path.stem, []).append(path.suffix)
    return ", ".join(stem + " ".join(found) for stem, found in endings.items())
