"""New scores of old cells, from their stored predictions: `report --rescore`."""

from __future__ import annotations

from pathlib import Path

from benchmark.core.files import AGAIN, PREDICTIONS, open_arrays, write_json
from benchmark.core.record import RESCORED, find_records, read_record, touch
from benchmark.core.registry import InputError
from benchmark.scores.metric import VERSION, Predictions, every_score


def rescore(runs: Path) -> tuple[int, list[str]]:
    """Write `rescored.json` beside every record below `runs` that has predictions.

    Returns the number of cells scored, and a sentence for each that could not be.
    """
    count, faults = 0, []
    for path in find_records(runs):
        try:
            _one(path)
            count += 1
        except InputError as error:
            faults.append(str(error))
    return count, faults


def _one(path: Path) -> None:
    record = read_record(path)
    with open_arrays(path.parent / PREDICTIONS, AGAIN) as stored:
        arrays = dict(stored)
        splits = [Predictions.of_split(arrays, record.data.classes, n) for n in ("val", "test")]
        val, test = map(every_score, splits)
    write_json(path.parent / RESCORED, {"version": VERSION, "val": val, "test": test})
    touch(path.parent)
