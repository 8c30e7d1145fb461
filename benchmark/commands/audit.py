"""Prove every method on every family of backbones: counts, gradients, identity, merge, ..."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from benchmark.commands._axes import a_path, flag
from benchmark.core.numbers import COUNT
from benchmark.core.spec import split_list
from benchmark.sweep.names import check_methods

if TYPE_CHECKING:
    from benchmark.auditing import Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument(
        "--methods", metavar="A,B", help="methods, yours as module:Class (default: all)"
    )
    parser.add_argument(
        "--backbones", metavar="A,B", help="families, such as vit,swin (default: all)"
    )
    parser.add_argument(
        "--json", type=a_path, metavar="FILE", help="write the verdicts as JSON too"
    )
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.add_argument("--jobs", type=flag(COUNT), default=os.cpu_count() or 1, help="processes")


def run(arguments: argparse.Namespace) -> int:
    """Print the matrix; return 1 when a check failed."""
    specs, families = (
        None if text is None else split_list(text)
        for text in (arguments.methods, arguments.backbones)
    )
    check_methods(specs or ())
    from benchmark.auditing import audit, show
    from benchmark.core.files import check_writable, write_json

    if arguments.json:
        check_writable(arguments.json)
    start = time.perf_counter()
    verdicts = audit(specs, families, jobs=arguments.jobs, on_verdict=_tell)
    print(show.matrix(verdicts, arguments.format))
    print(show.summary(verdicts, time.perf_counter() - start), file=sys.stderr)
    if arguments.json:
        write_json(arguments.json, show.as_json(verdicts))
    return 1 if any(verdict.state == "fail" for verdict in verdicts) else 0


def _tell(verdict: Verdict) -> None:
    if verdict.state == "fail":
        for fault in verdict.faults:
            print(f"{verdict.method} on {verdict.family}: {fault}", file=sys.stderr)
