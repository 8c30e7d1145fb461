"""A few steps of one cell of each kind, to know time and memory before jobs ask for them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmark.core.cell import Cell
from benchmark.core.files import AGAIN, read_json, write_json
from benchmark.core.record import RECORD
from benchmark.core.registry import InputError
from benchmark.sweep.estimate import PROBES, Estimate, kind

STEPS = 4


def probe(cells: Sequence[Cell], sources: dict[str, str], runs: Path, estimate: Estimate) -> int:
    """Probe one cell of each kind that `estimate` does not know; return how many were probed.

    Each in a process of its own, whose peak memory is therefore its own. A cell that fails here
    would fail on a node: its reason is raised.
    """
    unknown = {kind(cell): cell for cell in cells if estimate.seconds(cell) is None}
    for cell in unknown.values():
        # a folder of its own: the record of four steps is no result
        short = replace(cell, steps=STEPS, evaluations=1, patience=0)
        with tempfile.TemporaryDirectory() as folder:
            record = _run(short, sources, Path(folder), runs / "cache")
        if record is not None:
            measured = {"cell": asdict(short), "cost": record["cost"]}
            write_json(runs / PROBES / f"{short.key}.json", measured)
    return len(unknown)


def _run(cell: Cell, sources: dict[str, str], folder: Path, cache: Path) -> dict | None:
    order = {"cell": asdict(cell), "sources": sources, "runs": str(folder), "cache": str(cache)}
    command = [sys.executable, "-m", "slurm.probe"]
    answer = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True)
    path = cell.folder(folder) / RECORD
    if path.exists():
        return dict(read_json(path, AGAIN))
    if answer.returncode:
        raise InputError(f"the probe of {cell.slug} failed: {answer.stderr.splitlines()[-1]}")
    return None  # the method does not suit the backbone


def main() -> None:
    """Train the cell that is given on standard input."""
    from benchmark.training.run import run
    from benchmark.training.session import Session

    order = json.load(sys.stdin)
    session = Session(cache=Path(order["cache"]), sources=order["sources"])
    run(Cell.from_dict(order["cell"]), session, Path(order["runs"]))


if __name__ == "__main__":
    main()
