"""Write a trained cell as a timm checkpoint, a PEFT adapter or one safetensors file."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands._axes import a_path, add_cell, trained_cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_cell(parser)
    parser.add_argument("--format", default="timm", help="timm, peft or safetensors")
    parser.add_argument("--out", type=a_path, help="folder to write (default: KEY-FORMAT)")


def run(arguments: argparse.Namespace) -> int:
    """Export and name the files; return the exit code."""
    from benchmark.trained.export import export

    trained = trained_cell(arguments)
    out = arguments.out or Path(f"{trained.record.cell.key}-{arguments.format}")
    for path in export(trained, arguments.format, out):
        print(f"{path}  ({path.stat().st_size:,} bytes)")
    return 0
