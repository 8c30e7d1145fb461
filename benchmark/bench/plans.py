"""What N cells cost without any training: planning, skipping, `status`, `report`, the index."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmark.core.cell import Cell
from benchmark.core.record import Cost, DataSummary, Record, write_record
from benchmark.execution.status import lines, survey
from benchmark.sweep.grid import Grid
from benchmark.sweep.plan import plan
from benchmark.sweep.resolve import Resolver
from results import frame
from results.reporting import report

STAGES = ("plan", "skip", "status", "report", "index", "load", "1% new", "100 new")
ADDED = 100
SETTLED_S = 2.5


@dataclass(frozen=True)
class Scale:
    """Seconds of each stage over `cells` cells."""

    cells: int
    seconds: dict[str, float]


def measure(sizes: Sequence[int]) -> list[Scale]:
    """Return the seconds of every stage for each number of cells.

    Cells are of three methods, one backbone and many seeds; their records hold made-up scores.
    Records are read without the index ("index": it is written), with it ("load"), with 1 % of the
    records outside of it, and with `ADDED` more.
    """
    return [_measure(size) for size in sizes]


def _measure(size: int) -> Scale:
    cells: list[Cell] = []
    seconds = {}
    with TemporaryDirectory() as folder:
        runs, out = Path(folder) / "runs", Path(folder) / "report"
        stages: dict[str, Callable[[], object]] = {
            "plan": lambda: cells.extend(_cells(size)),
            "skip": lambda: plan(cells, runs),
            "status": lambda: lines(survey(runs)),
            "report": lambda: report([runs], out),
            **dict.fromkeys(("index", "load", "1% new", "100 new"), lambda: frame.load([runs])),
        }
        for name, stage in stages.items():
            _prepare(name, cells, runs)
            start = time.perf_counter()
            stage()
            seconds[name] = time.perf_counter() - start
    return Scale(size, seconds)


def _prepare(name: str, cells: Sequence[Cell], runs: Path) -> None:
    """Bring the folder into the state that a stage starts from."""
    if name == "skip":
        write_records(cells, runs)
    elif name == "index":
        time.sleep(SETTLED_S)  # an index leaves out what is younger
        for path in runs.glob("index.*"):
            path.unlink()
    elif name == "1% new":
        write_records(_more(cells, max(1, len(cells) // 100), 10**6), runs)
    elif name == "100 new":
        write_records(_more(cells, ADDED, 10**7), runs)


def _more(cells: Sequence[Cell], count: int, first: int) -> list[Cell]:
    return [replace(cells[0], seed=first + i) for i in range(count)]


def _cells(size: int) -> list[Cell]:
    methods = Grid.methods
    seeds = tuple(range(-(-size // len(methods))))
    grid = Grid(methods, ("tiny_vit",), fractions=(0.2,), seeds=seeds)
    return Resolver().cells([grid])[:size]


def write_records(cells: Sequence[Cell], runs: Path) -> None:
    """Write a record with made-up scores for every cell."""
    noise = torch.rand(len(cells), generator=torch.Generator().manual_seed(0)).tolist()
    for cell, value in zip(cells, noise, strict=True):
        scores = dict.fromkeys(("accuracy", "balanced_accuracy", "kappa", "loss"), value)
        record = Record(
            cell=cell,
            data=DataSummary(
                labels_used=80,
                test=100,
                metric="kappa",
                synthetic=True,
                classes=("a", "b"),
                task="classification",
                ordinal=True,
            ),
            selected_step=80,
            val=dict(scores),
            test=dict(scores),
            history=[],
            cost=Cost(
                trainable_params=10,
                head_params=10,
                total_params=100,
                backbone_params=90,
                delta_bytes=1000,
                full_bytes=1000,
                train_gflop_per_image=1.0,
                train_s=1.0,
                images_per_s=1.0,
                peak_mib=100.0,
            ),
        )
        write_record(cell.folder(runs), record)
