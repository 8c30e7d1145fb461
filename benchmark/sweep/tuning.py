"""Equal tuning: the same number of trials for every method, from the search space it declares.

A trial is a cell. Which trial is reported is decided afterwards, on validation (`results.select`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.record import Earlier, Record, read_records
from benchmark.core.registry import InputError
from benchmark.core.settings import Chosen
from benchmark.scores import metric_of

if TYPE_CHECKING:
    from methods import Range  # which takes torch


def trial(space: Mapping[str, Range], number: int) -> dict[str, float]:
    """Return the values of trial 1, 2, ... of a space of log-uniform ranges, to two digits.

    Halton points, the same for every method in the unit cube: a larger budget holds a smaller one,
    and no method is tuned with luckier draws. A method that searches more values does so with as
    many trials, and with the same points in the axes that it shares with others. Trial 0 is the
    method's default and not drawn here.
    """
    for name, r in space.items():
        if not 0 < r.low <= r.high < math.inf:
            raise InputError(f"the search range {r.low:g} to {r.high:g} of {name} must lie above 0")
    point = _points(len(space), number + 1)[number + 1]  # point 1 is the middle: the default
    return {
        name: float(f"{r.low * (r.high / r.low) ** share:.1e}")
        for (name, r), share in zip(space.items(), point, strict=True)
    }


@cache
def _points(dimensions: int, number: int) -> list[list[float]]:
    from scipy.stats import qmc  # half a second that `--help` need not wait

    return qmc.Halton(dimensions, scramble=False).random(number + 1).tolist()


@dataclass(frozen=True)
class Tuned:
    """What trials of earlier records chose: values of a cell, by data set, backbone and method.

    `earlier` are the trials behind each choice.
    """

    folder: Path
    chosen: Mapping[tuple[str, str, str], dict[str, Any]]
    earlier: Mapping[Chosen, Earlier]

    def of(self, dataset: str, backbone: str, method: str) -> dict[str, Any]:
        """Return the values for a method of a backbone on a data set.

        Raises:
            InputError: nothing of it was tuned.
        """
        if (dataset, backbone, method) not in self.chosen:
            raise InputError(
                f"no finished trial of {method} of {backbone} on {dataset} below "
                f"{str(self.folder)!r}; train its trials there with --tune-budget"
            )
        return self.chosen[dataset, backbone, method]


def read_chosen(folder: Path) -> Tuned:
    """Return the values with the best mean validation score among the records below `folder`.

    Every trial of a method must have been run alike: on the same fractions, splits and seeds.

    Raises:
        InputError: no such folder, a record that cannot be read, or trials that were not run alike.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r} with records of trials")
    records, faults = read_records(folder)
    if faults:
        raise InputError(faults[0])
    trials: dict[tuple[str, str, str], dict[tuple[float, float, str], dict[tuple, float]]] = {}
    behind: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        cell, metric = record.cell, metric_of(record.data.metric)
        behind.setdefault((cell.dataset, cell.backbone, cell.method), []).append(record)
        score = record.val[metric.name]
        if score is None:
            raise InputError(
                f"{cell.folder(folder)} has no {metric.name} on validation to choose by; tune at "
                "a larger fraction"
            )
        own = trials.setdefault((cell.dataset, cell.backbone, cell.method), {})
        runs = own.setdefault((cell.lr, cell.weight_decay, cell.tuned), {})
        runs[cell.fraction, cell.shots, cell.split_seed, cell.seed] = metric.sign * score
    chosen: dict[tuple[str, str, str], dict[str, Any]] = {}
    earlier: dict[Chosen, Earlier] = {}
    for name, own in trials.items():
        if len({tuple(sorted(runs)) for runs in own.values()}) > 1:
            raise InputError(
                f"the trials of {name[2]} on {name[0]} below {str(folder)!r} were not run on the "
                "same fractions and seeds; finish them first"
            )
        means = {values: sum(runs.values()) / len(runs) for values, runs in own.items()}
        best = max(means, key=lambda values: means[values])
        chosen[name] = dict(zip(("lr", "weight_decay", "tuned"), best, strict=True))
        earlier[*name, *best] = _told(len(own), behind[name])
    return Tuned(folder, chosen, earlier)


def _told(trials: int, records: list[Record]) -> Earlier:
    """Return what records say of the trials that chose their values."""
    cells = [record.cell for record in records]
    return {
        "trials": trials,
        "runs": len(records),
        "train_s": sum(record.cost.train_s for record in records),
        "rates": sorted({cell.lr for cell in cells}),
        "fractions": sorted({cell.fraction for cell in cells}),
        "seeds": sorted({cell.seed for cell in cells}),
        "steps": sorted({cell.steps for cell in cells}),
    }


def read_tuned(items: list[str]) -> dict[str, str]:
    """Return {axis: comma list} of `--tune NAME=A,B` flags.

    Raises:
        InputError: for an item that is not of this form, or an axis that is no tuned one.
    """
    known = ("lr", "head_lr", "weight_decay", "batch_size", "warmup", "augment", "steps")
    found = {}
    for item in items:
        name, equals, values = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values or name not in known:
            raise InputError(
                f"--tune {item!r} must be NAME=A,B with NAME one of {', '.join(known)}"
            )
        if name in found:
            raise InputError(f"--tune {name} is given twice; write NAME=A,B with all values")
        found[name] = values
    return found
