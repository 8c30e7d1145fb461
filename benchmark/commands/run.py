"""Train the cells of a sweep, skip what is done, and print the table."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands import _execute
from benchmark.commands._axes import add_axes, add_runs, add_tuning, grids
from benchmark.core.spec import split_list

if TYPE_CHECKING:
    from benchmark.core.cell import Cell

ROUNDS = 3  # submissions of a cell whose job died, with --wait


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_axes(parser)
    add_tuning(parser)
    add_runs(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")
    parser.add_argument(
        "--peek", action="store_true", help="also measure what choosing on the test set would gain"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile each model: pays in long cells only"
    )
    parser.add_argument("--test-on", metavar="A,B", help="score on external sets of these classes")
    _execute.add_executor(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan, train what is to do, report; return 1 when a cell failed."""
    from benchmark.sweep.plan import plan
    from benchmark.sweep.resolve import Resolver

    _execute.check(arguments)
    resolver = Resolver()
    cells = resolver.cells(grids(arguments))
    if arguments.test_on:
        _check_external(cells, resolver.sources, split_list(arguments.test_on))
    planned = plan(cells, arguments.runs)
    print(f"{len(cells)} cells: {planned.counts()}")
    todo = [*planned.todo, *planned.failed]
    forecast = None
    if todo and arguments.executor != "slurm":
        forecast = _execute.forecast(todo, arguments)
        print(forecast.sentence())
    if arguments.dry_run:
        return _dry_run(cells, todo, resolver.sources, arguments)
    write_plan(cells, arguments.runs)
    if arguments.executor == "slurm":
        return _on_slurm(cells, resolver.sources, arguments)
    failures = _execute.train(todo, resolver.sources, arguments, forecast) if forecast else []
    if arguments.test_on:
        _test_on(cells, resolver.sources, arguments)
    _report(cells, arguments.runs)
    for slug, reason in failures:
        print(f"failed: {slug}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _dry_run(
    cells: list[Cell], todo: list[Cell], sources: dict[str, str], arguments: argparse.Namespace
) -> int:
    print("\n".join(f"  {cell.slug}" for cell in cells))
    if arguments.executor == "slurm" and todo:
        print(_execute.describe(_execute.order(todo, sources, arguments)))
    return 0


def _on_slurm(cells: list[Cell], sources: dict[str, str], arguments: argparse.Namespace) -> int:
    """Submit; with `--wait`, submit again what died without a word, then report."""
    from benchmark.sweep.plan import plan

    for number in range(ROUNDS if arguments.wait else 1):
        planned = plan(cells, arguments.runs)
        todo = [*planned.todo, *(planned.failed if number == 0 else ())]
        if todo:
            _execute.send(todo, sources, arguments)
        if not arguments.wait:
            print(f"python -m benchmark status --runs {arguments.runs}  # tells how far it is")
            return 0
        from slurm import queue

        queue.await_end(arguments.runs)
    planned = plan(cells, arguments.runs)
    print(planned.counts())
    _report(cells, arguments.runs)
    return 1 if planned.failed or planned.todo else 0


def _check_external(cells: list[Cell], sources: dict[str, str], specs: list[str]) -> None:
    """Refuse sets that cannot test these cells, before anything is trained."""
    from benchmark.data import open_dataset
    from benchmark.trained import external

    trained = [open_dataset(sources.get(name, name)) for name in {cell.dataset for cell in cells}]
    for other in map(open_dataset, specs):
        for dataset in trained:
            external.check(dataset, other)


def _test_on(cells: list[Cell], sources: dict[str, str], arguments: argparse.Namespace) -> None:
    """Score what is trained on another set of the same classes."""
    from benchmark.trained import external
    from benchmark.training.session import Session

    session = Session(cache=arguments.runs / "cache", sources=sources)
    for spec in split_list(arguments.test_on):
        count = len(list(external.score(cells, session, arguments.runs, spec)))
        print(f"{count} cells were tested on {spec}")


def write_plan(cells: list[Cell], runs: Path) -> None:
    """Write which cells were asked for, so that `status` knows what is to do."""
    from benchmark.core.files import write_json

    slugs = [cell.slug for cell in cells]
    name = hashlib.sha256("\n".join(slugs).encode()).hexdigest()[:12]
    write_json(runs / "plans" / f"{name}.json", {"slugs": slugs})


def _report(cells: list[Cell], runs: Path) -> None:
    """Print the table of these cells and say where everything lies."""
    from benchmark.commands.report import show
    from results.reporting import report

    show(report([runs], runs / "report", keys={cell.key for cell in cells}))
    print(f"records: {runs}/DATASET/BACKBONE/METHOD/.../record.json")
