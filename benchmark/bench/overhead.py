"""What the harness adds to the training of a cell: in a fresh process, and in a warm one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmark import backbones
from benchmark.bench import timing
from benchmark.bench.timing import Estimate
from benchmark.core.cell import Cell
from benchmark.core.registry import InputError
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training.run import assemble, run
from benchmark.training.session import Session

SIDES = (28, 32, 64, 224)  # the smallest that a backbone takes: training must not hide the rest
METHOD = "lora"


@dataclass(frozen=True)
class Overhead:
    """Seconds per cell beside its training steps.

    `cold_s`: one cell in a process of its own; `warm_s`: a further cell in a warm process, all of
    it; `start_s`: of that, until its model is ready (data, backbone, method, head).
    """

    cold_s: Estimate
    warm_s: Estimate
    start_s: Estimate


def measure(folder: Path, backbone: str, *, cold: int = 2, warm: int = 8) -> Overhead:
    """Return the overheads of cells of one step on the images in `folder`.

    `cold` processes are started, `warm` cells follow a first one in this process.
    """
    resolver = Resolver()
    cells = cells_of(resolver, folder, backbone, cold + warm + 1)
    runs = folder.parent / "runs"
    session = Session(cache=runs / "cache", sources=resolver.sources)
    first, *rest = cells
    beside_training(first, session, runs)
    starts = [_start(cell, session) for cell in rest[cold:]]
    warm_s = [beside_training(cell, session, runs) for cell in rest[cold:]]
    cold_s = [_in_process(cell, session, runs) for cell in rest[:cold]]
    return Overhead(*(timing.estimate(values) for values in (cold_s, warm_s, starts)))


def cells_of(resolver: Resolver, folder: Path, backbone: str, count: int) -> list[Cell]:
    """Return `count` cells of one step that differ in their seed."""
    side = smallest_side(backbone)
    grid = Grid((METHOD,), (backbone,), (str(folder),), (1.0,), seeds=(0,))
    short = replace(grid, steps=(1,), evaluations=(1,), batch_size=(2,), image_size=(side,))
    cell = resolver.cells([short])[0]
    return [replace(cell, seed=seed) for seed in range(count)]


def smallest_side(backbone: str) -> int:
    """Return the smallest of a few image sides that `backbone` takes."""
    for side in SIDES[:-1]:
        try:
            backbones.check_size(backbone, side)
        except InputError:
            continue
        return side
    return SIDES[-1]


def beside_training(cell: Cell, session: Session, runs: Path) -> float:
    """Train `cell` and return the seconds that were not training."""
    start = time.perf_counter()
    record = run(cell, session, runs)
    assert record is not None
    return time.perf_counter() - start - record.cost.train_s


def _start(cell: Cell, session: Session) -> float:
    start = time.perf_counter()
    data = session.data(cell)
    assemble(cell, session.backbone(cell), data.dataset.card)
    return time.perf_counter() - start


def _in_process(cell: Cell, session: Session, runs: Path) -> float:
    """Return what a fresh process takes beside the training of `cell`, its start included."""
    order = {
        "cell": asdict(cell),
        "sources": session.sources,
        "runs": str(runs),
        "threads": torch.get_num_threads(),
    }
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmark.bench.overhead", json.dumps(order)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start - float(answer.stdout.split()[-1])


def main(order: str) -> None:
    """Train one cell and write its training seconds to standard output."""
    values = json.loads(order)
    torch.set_num_threads(values["threads"])
    runs = Path(values["runs"])
    session = Session(cache=runs / "cache", sources=values["sources"])
    record = run(Cell.from_dict(values["cell"]), session, runs)
    assert record is not None
    sys.stdout.write(f"{record.cost.train_s}\n")


if __name__ == "__main__":
    main(sys.argv[1])
