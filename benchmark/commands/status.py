"""Show what is done, running, failed (with the reason), unsupported and to do."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmark.commands._axes import add_runs, flag
from benchmark.core.files import ERROR
from benchmark.core.numbers import FROM_ZERO, Number
from benchmark.core.registry import InputError

SECONDS = Number(float, above=0, most=86_400)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_runs(parser)
    parser.add_argument(
        "--watch",
        type=flag(SECONDS),
        nargs="?",
        const=10.0,
        metavar="SECONDS",
        help="again and again until nothing moves (10 s apart, unless given)",
    )
    parser.add_argument(
        "--tail",
        type=flag(FROM_ZERO),
        default=0,
        metavar="N",
        help="last lines of the logs of what failed",
    )
    parser.add_argument(
        "--logs", metavar="CELL", help="print the logs of the last Slurm job of a cell, and end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print counts, progress and reasons; 0: all ended well, 1: something failed, 3: unfinished."""
    from benchmark.execution.status import lines, survey
    from slurm.queue import ask_queue

    watch = arguments.watch
    if arguments.logs is not None:
        return _show_logs(arguments.runs, arguments.logs)
    while True:
        status = survey(arguments.runs, ask_queue)
        if watch is not None:
            clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
            print(f"{clear}{time.strftime('%H:%M:%S')}")
        print("\n".join(lines(status, arguments.tail)), flush=True)
        if watch is None or not status.is_moving():
            return status.exit_code()
        time.sleep(watch)
        print()


def _show_logs(runs: Path, cell: str) -> int:
    """Print why a cell failed and what its last job wrote; `cell` as `status` prints it."""
    from slurm.queue import logs_of

    slug = cell.rstrip("/").removeprefix(f"{runs}/")
    paths = [path for path in (runs / slug / ERROR, *logs_of(runs, slug)) if path.exists()]
    if not paths:
        raise InputError(f"no log of {cell!r} below {str(runs)!r}; name a cell as `status` does")
    for path in paths:
        print(f"--- {path}\n{path.read_text(errors='replace').rstrip()}")
    return 0
