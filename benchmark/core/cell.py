"""The `Cell`: everything that a number depends on, its key and its seeds.

Imports neither torch nor pandas: `--help` and `status` answer at once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from benchmark.core.files import digest
from benchmark.core.numbers import COUNT, FromZero, Number
from benchmark.core.typed import typed

# What single precision holds: a smaller rate trains nothing, a larger one is none.
RATE = Number(float, least=1e-30, most=1e30)
Rate = Annotated[float, RATE]
_SORTED = json.JSONEncoder(sort_keys=True)


def later(default: Any) -> Any:
    """Return a field that cells were given after there were records, with what those meant."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training run: everything that can change its number, and nothing that cannot.

    `fraction` is a share of the development labels (training and validation together). With
    `shots` > 0 it is 1 and ignored: so many images of each class train, and as many validate.
    `warmup` is a share of `steps`; `evaluations` is how many times the validation set is scored,
    evenly spaced, the last one at the last step. `head_lr` is the peak rate of the fresh head, 0
    where it is `lr`. With `views` > 0 each image has so many fixed augmented views, of which every
    step draws one: another protocol than fresh augmentation, but one whose features can be kept.
    `tuned` is what a trial changes of the method's fields ("scale=10.0"): beside `method`, so that
    the trials of a method have one name and start alike.
    With `patience` > 0 training ends when so many evaluations in a row brought nothing better, and
    a decay after them (`benchmark.training.schedule`); `steps` is the most that is done then, and
    `warmup` a share of the steps of the first `patience` evaluations. `subset` says which training
    images a fraction takes: "drawn", or the "first" of each class.
    """

    dataset: str
    data: str
    backbone: str
    weights: str
    normalize: str
    method: str
    fraction: Annotated[float, Number(float, above=0, most=1)] = 1.0
    split_seed: FromZero = 0
    seed: FromZero = 0
    lr: Rate = 1e-3
    weight_decay: Annotated[float, Number(float, least=0, most=1e30)] = 1e-4
    steps: Annotated[int, Number(int, least=1, most=10**9)] = 100
    batch_size: Annotated[int, Number(int, least=1, most=2**16)] = 16
    warmup: Annotated[float, Number(float, least=0, below=1)] = 0.1
    clip: Rate = 1.0
    evaluations: Annotated[int, COUNT] = 5
    image_size: Annotated[int, Number(int, least=1, most=8192)] = 56
    augment: str = "default"
    precision: str = "fp32"
    head_lr: Annotated[float, Number(float, least=0, most=RATE.most)] = later(0.0)
    shots: FromZero = later(0)
    balance: str = later("none")
    output: str = later("softmax")
    views: FromZero = later(0)
    tuned: str = later("")
    patience: FromZero = later(0)
    subset: str = later("drawn")

    @functools.cached_property
    def key(self) -> str:
        """16 hex digits over the sorted JSON of all fields.

        A `later` field counts only where it is not at its default: records from before it existed
        keep their keys.
        """
        values = self.values()
        for name, default in _LATER.items():
            if values[name] == default:
                del values[name]
        return digest(_SORTED.encode(values))

    def values(self) -> dict[str, Any]:
        """Return the fields by name."""
        found = vars(self)  # plainly, for speed: what `key` keeps there is no field
        return {name: found[name] for name in self.__dataclass_fields__}

    @property
    def slug(self) -> str:
        """Readable relative path `dataset/backbone/method/f10-s0-KEY`; the key makes it unique."""
        share = f"f{100 * self.fraction:g}".replace(".", "p")
        share = f"k{self.shots}" if self.shots else share
        parts = [self.dataset, self.backbone, self.method]
        return "/".join([*map(_safe, parts), f"{share}-s{self.seed}-{self.key}"])

    def folder(self, runs: Path) -> Path:
        """Return the folder of this cell below `runs`."""
        return runs / self.slug

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """Return the cell that `asdict` wrote.

        Raises:
            InputError: for unknown or missing fields, and values of another type.
        """
        return typed(cls, values, "the cell")


_LATER = {item.name: item.default for item in fields(Cell) if "later" in item.metadata}


def share_of(fraction: float, shots: int) -> str:
    """Return how many labels are used, such as "10%" or "5-shot"."""
    return f"{shots}-shot" if shots else f"{100 * fraction:g}%"


def _safe(text: str) -> str:
    """Return `text` with what a shell or file system minds replaced, at most 80 characters."""
    text = text.replace("=", "").replace("(", "-").replace(",", "-")
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.")[:80] or "_"


# What each random draw may depend on: all methods see the same split, subset and batches, and
# learning-rate trials start from the same initialisation.
_SEED_AXES = {
    "order": ("dataset", "split_seed", "fraction", "seed"),
    "calibration": ("dataset", "split_seed", "fraction", "seed"),
    "init": ("dataset", "backbone", "method", "seed"),
    "head": ("dataset", "backbone", "seed"),
}


def seed(cell: Cell, purpose: str) -> int:
    """Return a 63-bit seed that depends on `purpose` and the axes it may depend on, only."""
    axes = [purpose, *(getattr(cell, axis) for axis in _SEED_AXES[purpose])]
    return int(hashlib.sha256(json.dumps(axes).encode()).hexdigest()[:15], 16)
