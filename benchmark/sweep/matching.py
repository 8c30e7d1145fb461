"""Which cells a grid names, without opening data: by the axes that it gives.

A precision of "auto" is any, a length in epochs any number of steps: both depend on more than the
grid. Fingerprints of data and weights are any as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import methods
from benchmark import backbones
from benchmark.sweep.grid import SINGULAR, Grid
from benchmark.sweep.resolve import head_lr


def matches(grid: Grid) -> Callable[[Mapping[str, Any]], bool]:
    """Return what says of a cell, its fields by name, whether it is of `grid`."""
    axes = {SINGULAR.get(axis, axis): values for axis, values in vars(grid).items()}
    built = {str(method): method for method in map(methods.build, axes.pop("method"))}
    known = {b.name: b for b in map(backbones.resolve, axes.pop("backbone"))}
    rates, heads, sizes = (axes.pop(name) for name in ("lr", "head_lr", "image_size"))
    drop = {"trial", "epochs"} | ({"steps"} if axes["epochs"] != (None,) else set())
    drop |= {"precision"} if "auto" in axes["precision"] else set()
    plain = {name: set(values) for name, values in axes.items() if name not in drop}

    def match(cell: Mapping[str, Any]) -> bool:
        if cell["method"] not in built or cell["backbone"] not in known:
            return False
        lr = [built[cell["method"]].lr if rate is None else rate for rate in rates]
        size = [known[cell["backbone"]].default_size if side is None else side for side in sizes]
        wanted = plain | {"lr": lr, "image_size": size}
        wanted["head_lr"] = [head_lr(head, cell["lr"]) for head in heads]
        # no more than the steps are done; records of earlier versions hold what was asked for
        asked = plain["evaluations"]
        wanted["evaluations"] = {*asked, *(min(count, cell["steps"]) for count in asked)}
        wanted["fraction"] = [1.0] if cell["shots"] else plain["fraction"]
        return all(cell[name] in values for name, values in wanted.items())

    return match
