"""Take all Slurm jobs of a runs folder out of the queue; nothing that is done is lost."""

from __future__ import annotations

import argparse

from benchmark.commands._axes import add_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Cancel, print how many jobs there were, and return the exit code."""
    from slurm import queue

    print(f"{queue.cancel(arguments.runs)} jobs cancelled; `run` continues from their checkpoints")
    return 0
