"""Write a trained cell as a timm checkpoint, a PEFT adapter or one safetensors file."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands._axes import WEIGHTS, a_path, add_allow_code, add_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument("cell", help="folder of a finished cell, or the first digits of its key")
    parser.add_argument("--format", default="timm", help="timm, peft or safetensors")
    parser.add_argument("--out", type=a_path, help="folder to write (default: KEY-FORMAT)")
    parser.add_argument("--weights", metavar="BACKBONE", help=WEIGHTS)
    add_allow_code(parser)
    add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export and name the files; return the exit code."""
    from benchmark.trained import find, load
    from benchmark.trained.export import export

    folder = find(arguments.cell, arguments.runs)
    trained = load(folder, arguments.weights, allowed=arguments.allow_code)
    out = arguments.out or Path(f"{trained.record.cell.key}-{arguments.format}")
    for path in export(trained, arguments.format, out):
        print(f"{path}  ({path.stat().st_size:,} bytes)")
    return 0
