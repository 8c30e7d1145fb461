"""Hold a paper's claims, or its published numbers, against the records."""

from __future__ import annotations

import argparse

from benchmark.commands._axes import OUT, RUNS, a_path, report_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument(
        "--paper",
        default="dvpt",
        help="claims of dvpt, or numbers of another one of results/papers (default: dvpt)",
    )
    parser.add_argument(
        "--runs", type=a_path, action="append", help="folder of records; repeatable"
    )
    parser.add_argument("--out", type=a_path, help=OUT)


def run(arguments: argparse.Namespace) -> int:
    """Write and show the comparison; return 1 when a record could not be read."""
    from benchmark.commands.report import show
    from results.papers.report import compare

    runs = arguments.runs or [RUNS]
    out = arguments.out or report_folder(runs[0])
    return show(compare(runs, out, arguments.paper, replaces=arguments.out is None))
