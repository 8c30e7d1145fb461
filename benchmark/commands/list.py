"""List what can be named on the command line: methods, backbones, datasets or suites."""

from __future__ import annotations

import argparse

KINDS = ("methods", "backbones", "datasets", "suites")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")


def run(arguments: argparse.Namespace) -> int:
    """Print the table of one registry and return the exit code."""
    from benchmark.sweep.catalogue import table

    print(table(arguments.kind, arguments.format))
    return 0
