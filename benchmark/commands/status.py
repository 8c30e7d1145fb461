"""Show what is done, failed (with the reason), unsupported and to do, from the disk alone."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from benchmark.commands._axes import add_runs
from benchmark.registry import InputError
from benchmark.spec import state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print counts and reasons; return 1 when a cell failed."""
    folders = planned(arguments.runs)
    states = {folder: state(folder) for folder in folders}
    counts = Counter(states.values())
    names = ("done", "todo", "failed", "unsupported")
    print(", ".join(f"{counts[name]} {name.replace('todo', 'to do')}" for name in names))
    for name, file in (("failed", "error.txt"), ("unsupported", "unsupported.txt")):
        for folder in (f for f, s in states.items() if s == name):
            reason = (folder / file).read_text().split("\n", 1)[0]
            print(f"{name}: {folder.relative_to(arguments.runs)}: {reason}")
    return 1 if counts["failed"] else 0


def planned(runs: Path) -> list[Path]:
    """Return the folders of all cells that were ever planned or trained below `runs`."""
    if not runs.is_dir():
        raise InputError(f"no folder {str(runs)!r}; name the folder of a run with --runs")
    folders = {path.parent for path in runs.rglob("cell.json")}
    for path in runs.glob("plans/*.json"):
        folders |= {runs / slug for slug in json.loads(path.read_text())["slugs"]}
    return sorted(folders)
