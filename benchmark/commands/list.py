"""List what can be named: methods, backbones, datasets, suites or kinds of figures."""

from __future__ import annotations

import argparse

KINDS = ("methods", "backbones", "datasets", "suites", "figures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")


def run(arguments: argparse.Namespace) -> int:
    """Print the table of one registry and return the exit code."""
    from benchmark.sweep.catalogue import as_text, table

    if arguments.kind == "figures":
        from results.figures import KINDS

        rows = [[name, KINDS[name].shows, KINDS[name].needs] for name in KINDS]
        print(as_text((["figure", "what it shows", "not drawn where"], rows), arguments.format))
        return 0
    print(table(arguments.kind, arguments.format))
    return 0
