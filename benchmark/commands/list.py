"""List what can be named: methods, backbones, datasets, suites or kinds of figures."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

from benchmark.core.registry import module_names

KINDS = ("methods", "backbones", "datasets", "suites", "figures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("kind", choices=KINDS, help="what to list")
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")


def run(arguments: argparse.Namespace) -> int:
    """Print the table of one registry and return the exit code."""
    from benchmark.sweep.catalogue import as_text, table

    if arguments.kind == "figures":
        head = ["figure", "what it shows", "not drawn where"]
        print(as_text((head, list(figures())), arguments.format))
        return 0
    print(table(arguments.kind, arguments.format))
    return 0


def figures() -> Iterator[list[str]]:
    """Yield name, what it shows and what it needs of each kind of figure.

    They are read from the decorators in the source: to import them takes matplotlib, a second.
    """
    folder = Path(__file__).parents[2] / "results" / "figures"
    for name in module_names("results.figures"):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            for made in getattr(node, "decorator_list", ()):
                if isinstance(made, ast.Call) and getattr(made.func, "id", "") == "kind":
                    yield [ast.literal_eval(words) for words in made.args]
