"""`run --test-on OTHER`: trained cells scored on an external set of the same classes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmark.core.cell import Cell
from benchmark.core.files import AGAIN, EXTERNAL, PREDICTIONS, open_arrays, read_json, write_json
from benchmark.core.record import RECORD, touch
from benchmark.core.registry import InputError
from benchmark.data import Dataset, decoded
from benchmark.scores import Predictions, every_score
from benchmark.trained import FOREIGN, card_of, load
from benchmark.training.arithmetic import arithmetic
from benchmark.training.artifacts import prediction_rows
from benchmark.training.fit import evaluate
from benchmark.training.run import setup_of
from benchmark.training.session import Session, subset_of
from benchmark.training.source import images_of
from benchmark.training.tasks import task_of


def check(trained: Dataset, other: Dataset) -> None:
    """Raise InputError unless both sets have the same task and classes, in the same order."""
    for name in ("task", "classes"):
        wanted, found = getattr(trained.card, name), getattr(other.card, name)
        if wanted != found:
            raise InputError(
                f"{other.card.name!r} cannot test what {trained.card.name!r} trained: its {name}: "
                f"{found}, not {wanted}"
            )


def rows_of(other: Dataset) -> np.ndarray:
    """Return the rows that are tested: the official test part, else every image."""
    tested = np.flatnonzero(np.asarray(other.splits) == "test")
    return tested if len(tested) else np.arange(len(other))


def score(cells: Sequence[Cell], session: Session, runs: Path, name: str) -> Iterator[Path]:
    """Write `external/NAME.json` beside the record of every finished cell and yield its path.

    `name` is the set as `session.dataset` opens it. Temperature scaling stays fitted on the
    validation part of the set that was trained on. Nothing is trained or chosen.
    """
    other = session.dataset(name)
    for cell in cells:
        folder = cell.folder(runs)
        if (folder / RECORD).exists():
            yield _score(cell, session, folder, other)


def _score(cell: Cell, session: Session, folder: Path, other: Dataset) -> Path:
    path = folder / EXTERNAL / f"{other.card.name}.json"
    if path.exists():
        with contextlib.suppress(InputError, AttributeError):  # not whole: it is scored again
            if read_json(path, "").get("data") == other.fingerprint:
                return path
    check(session.dataset(cell.dataset), other)
    # the command line named this cell's method: it was about to train it
    named = FOREIGN.findall(cell.method)
    trained = load(folder, session.source(cell.backbone), session.device, named)
    task = task_of(card_of(trained.record), cell.output)
    setup = setup_of(cell, session, trained.model, task, folder / "unused.pt")
    arrays = decoded(other, cell.image_size, session.cache, rows_of(other))
    targets = other.labels if arrays.masks is None else arrays.masks
    subset = subset_of(other, arrays.images, targets, rows_of(other))
    with arithmetic(session.settings):
        results = evaluate(setup, images_of(subset, cell, session.device))
    found = prediction_rows(subset, results, other)
    with open_arrays(folder / PREDICTIONS, AGAIN) as own:
        known = {n: own[n] for n in own if n.startswith("val_")}
    found["loss"] = results["loss"]
    known |= {f"test_{n}": values for n, values in found.items()}
    scores = every_score(Predictions.of_split(known, task.classes, "test"))
    write_json(
        path,
        {
            "key": cell.key,
            "cell": asdict(cell),
            "dataset": other.card.name,
            "data": other.fingerprint,
            "images": len(subset),
            "metric": trained.record.data.metric,
            "test": scores,
        },
    )
    touch(folder)
    return path
