"""Train the cells of a sweep, skip what is done, and print the table."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands._axes import add_axes, add_runs, grids

if TYPE_CHECKING:
    from benchmark.spec import Cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_axes(parser)
    add_runs(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")


def run(arguments: argparse.Namespace) -> int:
    """Plan, train what is to do, report; return 1 when a cell failed."""
    from benchmark.cells import Resolver
    from benchmark.spec import plan

    resolver = Resolver()
    cells = resolver.cells(grids(arguments))
    planned = plan(cells, arguments.runs)
    print(f"{len(cells)} cells: {planned.counts()}")
    if arguments.dry_run:
        print("\n".join(f"  {cell.slug}" for cell in cells))
        return 0
    write_plan(cells, arguments.runs)
    failures = _train([*planned.todo, *planned.failed], resolver.sources, arguments.runs)
    _report(cells, arguments.runs)
    for slug, reason in failures:
        print(f"failed: {slug}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def write_plan(cells: list[Cell], runs: Path) -> None:
    """Write which cells were asked for, so that `status` knows what is to do."""
    from benchmark.record import write_json

    slugs = [cell.slug for cell in cells]
    name = hashlib.sha256("\n".join(slugs).encode()).hexdigest()[:12]
    write_json(runs / "plans" / f"{name}.json", {"slugs": slugs})


def _train(cells: list[Cell], sources: dict[str, str], runs: Path) -> list[tuple[str, str]]:
    """Train `cells` in one warm process and return (slug, reason) of those that failed."""
    if not cells:
        return []
    from benchmark.progress import Display
    from benchmark.run import run as run_cell
    from benchmark.session import Session

    session = Session(cache=runs / "cache", sources=sources)
    failures = []
    with Display(len(cells)) as display:
        for cell in cells:
            display.start(cell)
            try:
                display.finish(cell, run_cell(cell, session, runs, display.step))
            except Exception as error:  # one cell never stops the others
                failures.append((cell.slug, " ".join(str(error).split()) or type(error).__name__))
                display.fail(cell, failures[-1][1])
    return failures


def _report(cells: list[Cell], runs: Path) -> None:
    """Print the table of these cells and say where everything lies."""
    from benchmark.commands.report import show
    from results import report

    show(report([runs], runs / "report", keys={cell.key for cell in cells}))
    print(f"records: {runs}/DATASET/BACKBONE/METHOD/.../record.json")
