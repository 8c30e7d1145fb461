"""`Metric`: the definition of one score, and everything that others need to know of it.

A metric is written once, as a function of *weighted groups*: `metric.weighted(predictions)` is a
function of weights (R, G), how often each of G groups (patients, volumes; single images where
there are none) is counted in each of R resamples. The score of a cell is its value where every
weight is one; a bootstrap replicate is its value at the counts of the draw. So a score and its
interval cannot come from two definitions.

Legend: n images, G groups, K classes, R resamples. Shares are fractions, not percent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from benchmark.core.registry import InputError, Registry, unknown

Scores = dict[str, float | None]  # None: the score is undefined here, never a made-up number
Weighted = Callable[[np.ndarray], np.ndarray]  # (R, G) weights -> (R,) values, NaN: undefined
Rank = tuple[float | None, float]  # (score, -loss) of an evaluated step
T = TypeVar("T")

TASKS = ("classification", "multilabel", "segmentation")
OPTIONAL = ("groups", "volumes", "extent")  # stored arrays that a metric reads where they are


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model answered on the n images of one split, beside the truth.

    `arrays` are those of `artifacts.write_predictions` without the name of the split:
    classification "probs" (n, K) and "labels" (n,); findings "probs" (n, K) and "labels" (n, K) of
    0 and 1; segmentation pixel counts "tp", "fp", "fn" (n, K), class maps "masks" and "truth"
    (n, S, S), "volumes" (n,) and "extent" (n, 3) in mm; all of them "groups" (n,), and during
    training "loss" (n,). `validation` holds the validation split of the same model, for what is
    fitted there (a temperature); without it these predictions are that split.
    """

    classes: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    validation: Predictions | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_split(
        cls,
        stored: Mapping[str, np.ndarray],
        classes: Sequence[str],
        split: str,
        only: Metric | None = None,
    ) -> Predictions:
        """Return the predictions of `split` from arrays "SPLIT_NAME"; with `only`, what it needs.

        `stored` may be an open npz file, of which no other array is then unpacked.
        """

        def part(name: str, wanted: Sequence[str] | None) -> dict[str, np.ndarray]:
            names = [n.removeprefix(f"{name}_") for n in stored if n.startswith(f"{name}_")]
            return {n: stored[f"{name}_{n}"] for n in names if wanted is None or n in wanted}

        arrays = part(split, None if only is None else (*only.needs, *OPTIONAL))
        fitted_on = part("val", None if only is None else only.validation_needs)
        for name, values in ((split, arrays), ("val", fitted_on)):
            check_split(name, values, len(classes))
        validation = cls(tuple(classes), fitted_on) if split != "val" else None
        return cls(tuple(classes), arrays, validation)

    @property
    def task(self) -> str:
        """Return which of `TASKS` the arrays are of."""
        if "probs" not in self.arrays and "labels" not in self.arrays:
            return "segmentation"
        return "multilabel" if self.arrays["labels"].ndim == 2 else "classification"

    def once(self, function: Callable[[Predictions], T]) -> T:
        """Return `function(self)`, computed once: what several metrics are made from."""
        if function not in self._made:
            self._made[function] = function(self)
        made: T = self._made[function]
        return made

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Return the group number of each image (n,), groups sorted by name."""
        if "groups" not in self.arrays:
            return np.arange(len(next(iter(self.arrays.values()))))
        return np.unique(self.arrays["groups"], return_inverse=True)[1]

    @functools.cached_property
    def group_names(self) -> tuple[str, ...]:
        """Return the names of the G groups, sorted; numbers where images have no group."""
        if "groups" not in self.arrays:
            return tuple(map(str, range(self.num_groups)))
        return tuple(map(str, np.unique(self.arrays["groups"])))

    @property
    def num_groups(self) -> int:
        """Return G."""
        return int(self.rows.max()) + 1 if len(self.rows) else 0

    def sum_by_group(self, values: np.ndarray) -> np.ndarray:
        """Return `values` (n, ...) summed over the images of each group, (G, ...) float."""
        summed = np.zeros((self.num_groups, *values.shape[1:]))
        np.add.at(summed, self.rows, values)
        return summed


def check_split(split: str, arrays: Mapping[str, np.ndarray], num_classes: int = 0) -> None:
    """Raise ValueError for arrays of one split that do not belong together, as in a damaged file.

    `num_classes` is K, 0 where it is not known.
    """
    # one number where a list should be has the length None
    lengths = {name: (*values.shape, None)[0] for name, values in arrays.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        raise ValueError(f"the arrays of {split} have the lengths {lengths}")
    probs, labels = arrays.get("probs"), arrays.get("labels")
    if probs is not None:
        wide = probs.ndim == 2 and num_classes in (0, probs.shape[1])
        if not wide or not np.isfinite(probs).all():
            raise ValueError(f"{split}_probs are not finite numbers for each class")
        num_classes = probs.shape[1]
    if labels is not None and labels.size:
        if labels.dtype.kind not in "iub" or labels.min() < 0:
            raise ValueError(f"{split}_labels are no class numbers")
        if num_classes and labels.max() >= (num_classes if labels.ndim == 1 else 2):
            raise ValueError(f"{split}_labels hold {labels.max()}, which is no class")


@dataclass(frozen=True)
class PerClass:
    """A metric that every class has for itself, and a data set as their mean or sum.

    `weighted(predictions, k)` is that of class k; `classes(predictions)` are the numbers of the
    classes that have one (of a segmentation the foreground). Classes whose value is undefined are
    left out of the mean.
    """

    weighted: Callable[[Predictions, int], Weighted]
    classes: Callable[[Predictions], Sequence[int]]
    total: bool = False  # the sum over classes instead of their mean


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score: how it is computed, and how it is read.

    `name` is that in records. `unit` "%" marks a share: stored as a fraction, shown x 100; any
    other unit is shown as stored. `needs` are the arrays that it is computed from, `unless` those
    in whose presence another metric takes its place, `validation_needs` the arrays of the
    validation split that something is fitted on. A `quick` metric is computed at every evaluation
    of a training. `higher_is_better` is None for what describes a model and ranks nothing.
    `since` is the version of the definitions (`VERSION`) in which this one last changed.
    `chance` is what an answer reaches that never looks at the image: a number, or a function of
    the number of test images of each class (K,); None where nothing is known of it.
    """

    name: str
    display: str
    definition: str
    tasks: tuple[str, ...]
    needs: tuple[str, ...]
    form: Callable[[Predictions], Weighted] | PerClass
    higher_is_better: bool | None
    unit: str = "%"
    decimals: int = 1
    quick: bool = False
    unless: tuple[str, ...] = ()
    validation_needs: tuple[str, ...] = ()
    since: int = 1
    chance: float | Callable[[np.ndarray], float] | None = None
    of_class: str = ""  # set by `metric_of`: the metric of one class

    @property
    def is_share(self) -> bool:
        """Return whether it is a fraction that is shown x 100."""
        return self.unit == "%"

    @property
    def scale(self) -> float:
        """Return what a stored value is multiplied with to be shown."""
        return 100.0 if self.is_share else 1.0

    @property
    def range(self) -> tuple[float, float]:
        """Return the lowest and the highest value that can be, as stored."""
        # what is 0 by chance, as kappa, is negative below it; errors such as Brier's may exceed 1
        highest = 1.0 if self.is_share and self.higher_is_better else math.inf
        return (-1.0 if self.chance == 0 else 0.0), highest

    def text(self, value: float | None) -> str:
        """Return a stored value as it is shown."""
        return "undefined" if value is None else f"{self.scale * value:.{self.decimals}f}"

    @property
    def sign(self) -> int:
        """Return 1 where higher is better, -1 where lower is.

        Raises:
            InputError: for a metric that ranks nothing.
        """
        if self.higher_is_better is None:
            raise InputError(f"{self.name!r} ranks nothing: {self.definition} Choose another")
        return 1 if self.higher_is_better else -1

    @property
    def lower_is_better(self) -> bool:
        """Return whether lower is better."""
        return self.higher_is_better is False

    def chance_level(self, counts: np.ndarray | None) -> float | None:
        """Return what chance reaches, as stored, where `counts` (K,) images are of each class.

        None where it is not known: `counts` are None for anything but one class per image.
        """
        if callable(self.chance):
            return None if counts is None else float(self.chance(counts))
        return self.chance

    def applies(self, predictions: Predictions) -> bool:
        """Return whether it can be computed from what is there."""
        arrays = predictions.arrays
        return (
            predictions.task in self.tasks
            and all(name in arrays for name in self.needs)
            and not any(name in arrays for name in self.unless)
        )

    def weighted(self, predictions: Predictions) -> Weighted | None:
        """Return the metric of any weighting of the groups; None where it cannot be computed."""
        if not self.applies(predictions):
            return None
        if isinstance(self.form, PerClass):
            if not self.of_class:
                return _combined(list(_of_classes(self.form, predictions).values()), self.form)
            if self.of_class not in predictions.classes:
                return None
            number = predictions.classes.index(self.of_class)
            known = number in self.form.classes(predictions)
            return self.form.weighted(predictions, number) if known else None
        return None if self.of_class else self.form(predictions)

    def scores(self, predictions: Predictions) -> Scores:
        """Return {"NAME": value} and {"NAME_CLASS": value} of the classes that have their own.

        Empty where the metric cannot be computed from `predictions`.
        """
        if not self.applies(predictions):
            return {}
        ones = np.ones((1, predictions.num_groups))
        if not isinstance(self.form, PerClass):
            return {self.name: _number(self.form(predictions)(ones))}
        # each class is computed once: the whole is made from the values of the classes
        values = {k: f(ones) for k, f in _of_classes(self.form, predictions).items()}
        whole = _combined([lambda _, v=v: v for v in values.values()], self.form)(ones)  # type: ignore[misc]
        names = predictions.classes
        return {
            self.name: _number(whole),
            **{f"{self.name}_{names[k]}": _number(value) for k, value in values.items()},
        }

    def rank(self, scores: Mapping[str, float | None]) -> Rank:
        """Return what `is_better` compares of an evaluated step."""
        value, loss = scores[self.name], scores["loss"]
        return None if value is None else self.sign * value, -(math.inf if loss is None else loss)


def is_better(rank: Rank, other: Rank) -> bool:
    """Return whether a step ranks above another one: by its score, at equal scores by its loss.

    Where the score is undefined for one of both, the loss decides alone. Dice is undefined where
    nothing is to be seen and nothing was: ranked below 0, a step without any false alarm would
    lose against one with them.
    """
    if rank[0] is None or other[0] is None:
        return rank[1] > other[1]
    return (rank[0], rank[1]) > (other[0], other[1])


def _of_classes(form: PerClass, predictions: Predictions) -> dict[int, Weighted]:
    return {k: form.weighted(predictions, k) for k in form.classes(predictions)}


def _combined(each: Sequence[Weighted], form: PerClass) -> Weighted:
    """Return the mean over classes that are defined, or the sum, of weighted metrics."""

    def whole(weights: np.ndarray) -> np.ndarray:
        values = np.stack([f(weights) for f in each], -1)
        return values.sum(-1) if form.total else mean_of_known(values)

    return whole if each else lambda weights: np.full(len(weights), np.nan)


def _number(value: np.ndarray) -> float | None:
    return None if np.isnan(value[0]) else float(value[0])


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return `above / below`, NaN where `below` is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the mean along the last axis without NaN, NaN where nothing else is there."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0).sum(-1), known.sum(-1))


def mean_over(values: np.ndarray, owners: np.ndarray) -> Weighted:
    """Return the weighted mean of `values` (m,), of which each belongs to group `owners` (m,).

    NaN values are left out, as if their weight were 0.
    """
    known = ~np.isnan(values)
    kept, owners = values[known], owners[known]

    def mean(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, owners]
        return divide(drawn @ kept.astype(weights.dtype), drawn.sum(1))

    return mean


METRICS: Registry[Metric] = Registry("metric")
VERSION = 2  # of the definitions; records name it, and a changed metric says it in `since`


def add(metric: Metric) -> Metric:
    """Register a metric and return it; a second one of the same name is an error."""
    return METRICS.add(metric.name)(metric)


@functools.cache
def metric_of(name: str) -> Metric:
    """Return the metric that `name` is of: "dice", or of one class, "dice_left ventricle".

    Raises:
        InputError: for a name that is no metric and no metric of a class.
    """
    if name in METRICS:
        return METRICS[name]
    # the longest, so that "sensitivity_at_90_a" is not a class "at_90_a" of some "sensitivity"
    for base in sorted(METRICS, key=len, reverse=True):
        metric, rest = METRICS[base], name.removeprefix(f"{base}_")
        if rest not in (name, "") and isinstance(metric.form, PerClass):
            return replace(metric, name=name, display=f"{metric.display} {rest}", of_class=rest)
    raise unknown("metric", name, METRICS)


def every_score(predictions: Predictions) -> Scores:
    """Return all scores that can be computed from `predictions`."""
    return _scores(predictions, METRICS)


def quick_scores(predictions: Predictions) -> Scores:
    """Return the scores that are computed at every evaluation of a training."""
    return _scores(predictions, [name for name in METRICS if METRICS[name].quick])


def _scores(predictions: Predictions, names: Sequence[str] | Registry[Metric]) -> Scores:
    found: Scores = {}
    for name in names:
        found |= METRICS[name].scores(predictions)
    return found
