"""Show what a runs folder holds by kind, and clean up what no result needs."""

from __future__ import annotations

import argparse

from benchmark.commands._axes import add_runs
from benchmark.core.registry import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_runs(parser)
    parser.add_argument(
        "--clean",
        metavar="A,B",
        help="delete: checkpoints (of finished cells), caches, reports, index",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")


def run(arguments: argparse.Namespace) -> int:
    """Print the disk use, clean what was asked for, and return the exit code."""
    from tabulate import tabulate

    from benchmark.core.spec import split_list
    from benchmark.execution.clean import CLEANED, KINDS, clean, survey

    use = survey(arguments.runs)
    rows = [
        (kind, len(use.files[kind]), _size(use.bytes(kind)), "yes" * (kind in CLEANED))
        for kind in KINDS
        if use.files[kind]
    ]
    print(tabulate(rows, ("kind", "files", "size", "can be cleaned"), "simple"))
    if arguments.dry_run and arguments.clean is None:
        raise InputError("--dry-run says what --clean would delete; name kinds with --clean")
    if arguments.clean is not None:
        kinds = split_list(arguments.clean)
        gone, kept = clean(use, arguments.runs, kinds, dry=arguments.dry_run)
        verb = "would be deleted" if arguments.dry_run else "deleted"
        for kind in dict.fromkeys(kinds):
            print(f"{kind}: {len(gone.files[kind])} files, {_size(gone.bytes(kind))} {verb}")
        for reason in kept:
            print(reason)
    return 0


def _size(count: int) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
