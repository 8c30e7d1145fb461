"""The axes of a sweep as one frozen value, and how flags and a TOML file fill it.

Imports neither torch nor pandas, because `--help` reads it.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmark.core.cell import RATE, Cell
from benchmark.core.files import read_toml
from benchmark.core.numbers import POSITIVE, Number
from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import format_spec, parse_spec, split_list
from benchmark.core.typed import annotated


@dataclass(frozen=True)
class Grid:
    """Axes of a sweep, each a tuple; the sweep is their product. None: the owner's default."""

    methods: tuple[str, ...] = ("linear", "lora", "dvpt")
    backbones: tuple[str, ...] = ("vit_s14_imgfocus",)
    datasets: tuple[str, ...] = ("phantom_grading",)
    fractions: tuple[float, ...] = (0.1, 0.4)
    shots: tuple[int, ...] = (0,)
    split_seeds: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    subset: tuple[str, ...] = ("drawn",)
    lr: tuple[float | None, ...] = (None,)
    head_lr: tuple[float | None, ...] = (None,)
    weight_decay: tuple[float, ...] = (1e-4,)
    steps: tuple[int, ...] = (80,)
    patience: tuple[int, ...] = (0,)
    epochs: tuple[float | None, ...] = (None,)
    batch_size: tuple[int, ...] = (16,)
    warmup: tuple[float, ...] = (0.1,)
    clip: tuple[float, ...] = (1.0,)
    evaluations: tuple[int, ...] = (4,)
    image_size: tuple[int | None, ...] = (None,)
    augment: tuple[str, ...] = ("default",)
    views: tuple[int, ...] = (0,)
    balance: tuple[str, ...] = ("none",)
    output: tuple[str, ...] = ("softmax",)
    precision: tuple[str, ...] = ("auto",)
    trial: tuple[int, ...] = (0,)  # 0: the settings above; others are drawn by `tuning.trial`


# Axes whose field of a Cell has another name.
SINGULAR = {
    "methods": "method",
    "backbones": "backbone",
    "datasets": "dataset",
    "fractions": "fraction",
    "split_seeds": "split_seed",
    "seeds": "seed",
}


_RANGES: dict[str, Number[Any]] = dict(annotated(Cell))
STEPS = _RANGES["steps"]
BUDGET = Number(int, least=1, most=1000)  # Halton points are drawn anew up to each trial

# Axis: which numbers an item may be (None: it is a text), and what it is.
AXES: dict[str, tuple[Number[Any] | None, str]] = {
    "methods": (None, "method specs, e.g. dvpt,lora(rank=8); see `list methods`"),
    "backbones": (
        None,
        "backbones; see `list backbones`; timm:, random:, file:PATH@NAME, hub:, local-dir:",
    ),
    "datasets": (None, "data sets; see `list datasets`; or a manifest.csv, a folder, an .npz"),
    "fractions": (
        _RANGES["fraction"],
        "label fractions in (0, 1] of the development images",
    ),
    "shots": (
        _RANGES["shots"],
        "images per class for training, as many for validation, instead of a fraction",
    ),
    "split_seeds": (
        _RANGES["split_seed"],
        "seeds of the split into test, validation and training images",
    ),
    "subset": (None, "training images of a fraction: drawn, or the first of each class"),
    "seeds": (_RANGES["seed"], "training seeds (initialisation, batches, augmentation)"),
    "lr": (_RANGES["lr"], "learning rates; left out: each method's own"),
    "head_lr": (RATE, "learning rate of the head; left out: as `lr`, but at least 1e-3"),
    "weight_decay": (_RANGES["weight_decay"], "weight decay of AdamW on matrices"),
    "steps": (STEPS, "optimiser steps, the same for every label fraction"),
    "patience": (
        _RANGES["patience"],
        "train until so many evaluations in a row are no better; 0: all the steps",
    ),
    "epochs": (POSITIVE, "length in epochs instead of steps"),
    "batch_size": (_RANGES["batch_size"], "images in a batch"),
    "warmup": (_RANGES["warmup"], "share of the steps with a rising learning rate"),
    "clip": (_RANGES["clip"], "largest norm of the gradient"),
    "evaluations": (
        _RANGES["evaluations"],
        "how often the validation set is scored; the best point is kept",
    ),
    "image_size": (
        _RANGES["image_size"],
        "side of the input in pixels; left out: the backbone's own default",
    ),
    "augment": (None, "augmentation policies: none, flip, default, rotate, dvpt (the authors')"),
    "views": (
        _RANGES["views"],
        "fixed augmented views per image to draw from; 0: a fresh one in every step",
    ),
    "balance": (None, "against class imbalance: none, loss (weighted), sampler"),
    "output": (None, "of a classifier: softmax, or ordinal for grades (continuation ratios)"),
    "precision": (None, "auto (bf16 on a GPU that has it), fp32 or bf16"),
}


def read_items(name: str, value: Any, number: Number[Any] | None = None) -> tuple[Any, ...]:
    """Return the items of a comma list, of one value, or of any sequence of values.

    Raises:
        InputError: no item, or one that is not such a number; `name` is the argument's.
    """
    single = isinstance(value, str | Path | int | float)
    if isinstance(value, bool | dict) or not (single or hasattr(value, "__iter__")):
        raise InputError(f"{name} {value!r} is neither a value nor a list of values")
    split = _split_paths if name in ("datasets", "test_on") else split_list
    try:
        items = split(value) if isinstance(value, str) else [value] if single else [*value]
    except InputError as error:
        raise InputError(f"{name} {error}") from None
    if not items:
        raise InputError(f"{name} is an empty list; leave it out for the default")
    if number is not None:
        return tuple(number.read(item, name) for item in items)
    for item in items:
        if not isinstance(item, str | Path):
            raise InputError(f"{name} {item!r} is not a text")
    return tuple(map(str, items))


def _split_paths(text: str) -> list[str]:
    """Return the items of a comma list of data sets; a path that exists keeps its commas.

    Raises:
        InputError: a path with commas whose parts are data sets as well: either may be meant.
    """

    def exists(spec: str) -> bool:
        place = spec.strip().rpartition("@")[2] if "@" in spec else spec.strip()
        return os.path.exists(Path(place).expanduser())  # noqa: PTH110 - `Path.exists` may raise

    pieces, items = text.split(","), []
    while pieces:
        # the longest run of pieces that is one path
        count = next((n for n in range(len(pieces), 1, -1) if exists(",".join(pieces[:n]))), 1)
        items.append(",".join(pieces[:count]).strip())
        if count > 1:
            from benchmark.data import datasets

            if all(exists(piece) or piece.strip() in datasets for piece in pieces[:count]):
                raise InputError(
                    f"{items[-1]!r} is a path, and a list of {count} data sets that exist; rename "
                    "the path, or write the list in another order"
                )
        pieces = pieces[count:]
    return items if any("," in item for item in items) else split_list(text)


def read_axis(name: str, value: Any) -> tuple[Any, ...]:
    """Return the items of an axis; see `read_items`."""
    return read_items(name, value, AXES[name][0])


def with_budget(grid: Grid, budget: int) -> Grid:
    """Return `grid` with `budget` trials of every method, the default settings among them."""
    budget = BUDGET.read(budget, "tune_budget")
    if grid.lr != (None,) or len(grid.weight_decay) > 1:
        raise InputError("tune_budget draws lr and weight_decay; leave out lr and weight_decay")
    return replace(grid, trial=tuple(range(budget)))


# Until converged, what is not given: at most 2,000 steps, scored every 50, and 250 without a gain.
CONVERGED: dict[str, tuple[int, ...]] = {"patience": (5,), "steps": (2000,), "evaluations": (40,)}


def with_axes(grid: Grid, axes: Mapping[str, Any]) -> Grid:
    """Return `grid` with the given axes replaced; axes that are None stay as they are."""
    given = {name: read_axis(name, value) for name, value in axes.items() if value is not None}
    return replace(grid, **given)


def read_config(path: Path) -> dict[str, Any]:
    """Return the axes (and `suite`) in a TOML file; its keys are the flags' names.

    Raises:
        InputError: when the file cannot be read or has a key that is no flag.
    """
    values = read_toml(path)
    known = {field.name for field in fields(Grid)} - {"trial"} | {"suite"}
    for key in values:
        if key not in known:
            raise unknown("configuration key", key, known)
    return values


def expand(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return one dictionary per point of the grid, the last axis fastest."""
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


# Axes that a command names only where they are not at their default.
_QUIET = (
    "shots",
    "weight_decay",
    "warmup",
    "clip",
    "augment",
    "views",
    "balance",
    "output",
    "patience",
)


def flags_of(cell: Mapping[str, Any]) -> dict[str, str]:
    """Return the flags of `run` that make a cell (its fields by name) again, by axis.

    What a default could decide (rates, steps, precision) is named, so that a later default does
    not change what the command does. A data set or backbone of your own has its name there, in
    place of the path that opens it: cells hold no paths. A drawn trial (`tuned`) has its values in
    the method: trained alike, but under a name of its own.
    """
    name, arguments = parse_spec(cell["method"])
    drawn = parse_spec(f"{name}({cell['tuned']})")[1] if cell["tuned"] else {}
    cell = {**cell, "method": format_spec(name, arguments | drawn)} if drawn else cell
    found = {}
    for axis in AXES:
        value = None if axis == "epochs" else cell[SINGULAR.get(axis, axis)]
        if axis == "head_lr":
            value = value or cell["lr"]  # 0 says: as the cell's own
        by_shots = axis == "fractions" and cell["shots"]
        if value is None or by_shots or (axis in _QUIET and (value,) == getattr(Grid, axis)):
            continue
        # repr: a float is read again as the same number
        found[axis] = shlex.quote(value if isinstance(value, str) else repr(value))
    return found
