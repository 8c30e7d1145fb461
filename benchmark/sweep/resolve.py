"""From grids to cells: names resolved, defaults written out, identities filled in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import methods
from benchmark import backbones
from benchmark.core.cell import Cell, share_of
from benchmark.core.numbers import POSITIVE, Number
from benchmark.core.registry import InputError, unknown
from benchmark.data import Dataset, located, open_dataset, split
from benchmark.data.split import absent
from benchmark.sweep.grid import SINGULAR, STEPS, Grid, expand
from benchmark.sweep.tuning import Tuned, trial
from benchmark.training import balance, head
from benchmark.training.augment import MOST_VIEWS, Augmentation, policies
from benchmark.training.session import best_device, has_bfloat16
from methods.base import blamed

LOWEST_HEAD_LR = 1e-3
PRECISIONS = ("fp32", "bf16")
_TRIED = ("lr", "weight_decay")  # axes of cells that every method's trials draw
FEW = 25  # validation images, on which a share has a standard error of up to 10 points


@dataclass
class Resolver:
    """Turns grids into cells; opens every data set and reads every fingerprint once."""

    sources: dict[str, str] = field(default_factory=dict)  # name in cells -> what opens it
    # where the cells will run, which decides the precision "auto"; by default as this machine
    on_gpu: bool = field(default_factory=lambda: has_bfloat16(best_device()))
    _opened: dict[str, Dataset] = field(default_factory=dict)
    _fingerprints: dict[str, str] = field(default_factory=dict)
    earlier: Tuned | None = None  # rates of earlier trials, for cells that name none
    notes: list[str] = field(default_factory=list)  # on what was asked, for people
    _num_train: dict[tuple[str, float, int, int, str], int] = field(default_factory=dict)

    def cells(self, grids: Iterable[Grid]) -> list[Cell]:
        """Return the cells of `grids`, each once, in order; bad values raise InputError."""
        points = [point for grid in grids for point in expand(vars(grid))]
        return list(dict.fromkeys(self._cell(point) for point in points))

    def _cell(self, point: dict[str, Any]) -> Cell:
        values = {SINGULAR.get(axis, axis): value for axis, value in point.items()}
        epochs, number = values.pop("epochs"), values.pop("trial")
        dataset = self._dataset(values["dataset"])
        method = methods.build(values["method"])
        backbone = backbones.resolve(values["backbone"])
        self._remember(backbone.name, values["backbone"])
        preprocessing = backbones.preprocessing(values["backbone"])
        with blamed(method.name):
            drawn = trial(method.search_space(), number) if number else {}
        # what no cell has an axis for is a field of the method
        own = {name: drawn.pop(name) for name in list(drawn) if name not in _TRIED}
        values |= drawn | {"tuned": ",".join(f"{name}={value}" for name, value in own.items())}
        if self.earlier and values["lr"] is None and method.head != "neighbours":
            values |= self.earlier.of(dataset.card.name, backbone.name, str(method))
        values["views"] = _views(values["views"], values["augment"])
        balance.check(values["balance"], dataset.card.task)
        head.check_output(values["output"], dataset.card.ordinal)
        lr = POSITIVE.check(method.lr, "lr") if values["lr"] is None else values["lr"]
        values |= {
            "dataset": dataset.card.name,
            "data": dataset.fingerprint,
            "backbone": backbone.name,
            "weights": self._fingerprint(values["backbone"]),
            "normalize": "/".join(
                ",".join(f"{v:g}" for v in preprocessing[key]) for key in ("mean", "std")
            ),
            "method": str(method),
            "lr": lr,
            "head_lr": head_lr(values["head_lr"], lr),
            "image_size": backbone.default_size
            if values["image_size"] is None
            else values["image_size"],
            "precision": precision(values["precision"], on_gpu=self.on_gpu),
        }
        values["fraction"] = 1.0 if values["shots"] else values["fraction"]
        cell = Cell.from_dict(values)
        backbones.check_size(self.sources.get(cell.backbone, cell.backbone), cell.image_size)
        num_train = self._training_images(dataset, cell)
        if epochs is not None:
            if epochs * num_train < 1:
                raise InputError(f"epochs {epochs!r} of {num_train} training images is not one")
            steps = max(1, round(epochs * num_train / cell.batch_size))
            cell = replace(cell, steps=STEPS.check(steps, f"epochs {epochs!r}: steps"))
        # what is done, not what was asked for: else one training would be two cells
        most = min(cell.evaluations, cell.steps)
        cell = replace(cell, evaluations=most)
        if 2 * cell.patience > most:
            raise InputError(
                f"patience {cell.patience!r} is for {2 * cell.patience} or more evaluations, half "
                f"of them while the rate falls, and there are {most}; give more evaluations (and "
                "steps), or until_converged, which brings its own"
            )
        return cell

    def _training_images(self, dataset: Dataset, cell: Cell) -> int:
        """Return the size of the training split; a fraction that is too small raises InputError."""
        drawn = (cell.dataset, cell.fraction, cell.split_seed, cell.shots, cell.subset)
        if drawn not in self._num_train:
            rows = split(
                dataset, cell.fraction, cell.split_seed, shots=cell.shots, subset=cell.subset
            )
            self._num_train[drawn] = len(rows.train)
            if names := absent(dataset, rows.test):
                self.notes.append(
                    f"no test image of {cell.dataset} at split seed {cell.split_seed} shows "
                    f"{', '.join(names)}: its scores say nothing of that"
                )
            if dataset.card.task == "classification" and len(rows.val) < FEW:
                share = share_of(cell.fraction, cell.shots)
                self.notes.append(
                    f"{len(rows.val)} validation images of {cell.dataset} at {share}: the standard "
                    f"error of a score on them is up to {50 / math.sqrt(len(rows.val)):.0f} points"
                )
        return self._num_train[drawn]

    def _dataset(self, spec: str) -> Dataset:
        """Return the opened data set."""
        if spec not in self._opened:
            dataset = open_dataset(spec)
            self._remember(dataset.card.name, located(spec))
            self._opened[spec] = dataset
            self.notes += dataset.remarks()  # what was left out, and what of its groups
        return self._opened[spec]

    def _fingerprint(self, spec: str) -> str:
        if spec not in self._fingerprints:
            self._fingerprints[spec] = backbones.fingerprint(spec)
        return self._fingerprints[spec]

    def _remember(self, name: str, spec: str) -> None:
        """Note what opens `name`; two different things of one name are refused."""
        known = self.sources.setdefault(name, spec)
        if known != spec:
            raise InputError(
                f"{known!r} and {spec!r} are both called {name!r}; rename a file or folder, "
                "because tables show the name"
            )


def head_lr(given: float | None, lr: float) -> float:
    """Return the cell's `head_lr`, 0 where it equals `lr`.

    Full fine-tuning needs a small rate to keep what the backbone has learned; its head starts from
    nothing and would hardly move at that rate in few steps, which no other method suffers. Trained
    until converged the small rate scored 3 to 5 points more on BUSI: see results/README.md.
    """
    rate = max(lr, LOWEST_HEAD_LR) if given is None else given
    return 0.0 if POSITIVE.check(rate, "head_lr") == lr else rate


def _views(count: int, policy: str) -> int:
    """Return the number of views, 0 where nothing is changed: all views would be the image."""
    Number(int, least=0, most=MOST_VIEWS).check(count, "views")
    return 0 if policies[policy] == Augmentation() else count


def precision(name: str, *, on_gpu: bool) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 on a GPU (that multiplies it)."""
    if name == "auto":
        return "bf16" if on_gpu else "fp32"
    if name not in PRECISIONS:
        raise unknown("precision", name, ("auto", *PRECISIONS))
    return name
