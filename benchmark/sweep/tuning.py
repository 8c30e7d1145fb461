"""Equal tuning: the same number of trials for every method, from the search space it declares.

A trial is a cell. Which trial is reported is decided afterwards, on validation (`results.select`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from benchmark.core.registry import InputError

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
