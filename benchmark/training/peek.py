"""The peek gap: what choosing the checkpoint on the test set would have gained.

Off by default. `keep` stores the delta of every evaluated step while `fit` runs, which still never
sees a test image; `score` reads them after selection, when the record is already written, and puts
the result into a file of its own that no guarded table reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from benchmark.core.files import PEEK, write_json
from benchmark.core.record import Record, touch
from benchmark.training.artifacts import write_tensors
from benchmark.training.checkpoint import State
from benchmark.training.fit import Setup, evaluate
from benchmark.training.source import Source

_SNAPSHOTS = "peek"


def keep(folder: Path) -> Callable[[int, State], None]:
    """Return what stores the state of a step below the cell's `folder`."""

    def store(step: int, state: State) -> None:
        write_tensors(folder / _SNAPSHOTS / f"{step:08d}.safetensors", state)

    return store


def score(folder: Path, setup: Setup, test: Source, record: Record) -> None:
    """Score the stored steps on `test` and write `peek.json`; the states are deleted then."""
    found = []
    for path in sorted((folder / _SNAPSHOTS).glob("*.safetensors")):
        setup.restore(load_file(path, device=str(setup.device)))
        scores = setup.task.scores(evaluate(setup, test), test.units)
        found.append({"step": int(path.stem), "test": scores})
    metric = record.data.metric
    write_json(
        folder / PEEK,
        {
            "key": record.cell.key,
            "dataset": record.cell.dataset,
            "method": record.cell.method,
            "metric": metric,
            "selected_step": record.selected_step,
            "selected": record.test[metric],
            "steps": found,
        },
    )
    touch(folder)
    shutil.rmtree(folder / _SNAPSHOTS, ignore_errors=True)
