"""Test, validation and training images of a cell: grouped, stratified, seeded, nested.

Official parts never move. Else 20 % of the groups (counted in images) become the test set, and
20 % of the rest the validation pool. Each pool has one seeded order of which a label fraction takes
a prefix, so that a smaller fraction lies inside a larger one, in training and in validation.

Legend: n images, G groups, K classes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from benchmark.core.files import digest
from benchmark.core.registry import InputError, unknown
from benchmark.data.base import Card, Dataset, Split

TEST_SHARE = 0.2  # of all images, where there is no official test set
VAL_SHARE = 0.2  # of the development images, where there is no official validation set


@dataclass(frozen=True)
class Pool:
    """Images of one part in the order in which label fractions take them, whole groups at a time.

    `ends` (G,) counts the images of the first 1, 2, ... groups; `cover` is the number of groups of
    the shortest prefix that shows every class of the pool.
    """

    rows: np.ndarray
    ends: np.ndarray
    cover: int

    @property
    def needed(self) -> int:
        """Images of the shortest prefix that shows every class."""
        return int(self.ends[self.cover - 1])

    def first(self, target: int) -> np.ndarray:
        """Return the prefix whose size is nearest to `target` and that shows every class."""
        nearest = int(np.abs(self.ends - target).argmin()) + 1
        return self.rows[: self.ends[max(nearest, self.cover) - 1]]


@dataclass(frozen=True)
class Pools:
    """All images of a data set for one split seed, before a label fraction is taken."""

    train: Pool
    val: Pool
    test: np.ndarray

    @property
    def num_labels(self) -> int:
        """Development images: training and validation together."""
        return len(self.train.rows) + len(self.val.rows)


SUBSETS = ("drawn", "first")


def split(
    dataset: Dataset, fraction: float, split_seed: int, *, shots: int = 0, subset: str = "drawn"
) -> Split:
    """Return the rows of a label fraction: of the development images, validation included.

    With `shots`, `fraction` is ignored: so many images of each class are taken for training and for
    validation (in segmentation, images until every class is shown so often).

    With `subset` "first" the training images are the first of each class in the order of the data
    set (in segmentation the first of all), as published code often takes them: neither drawn nor in
    whole groups. Validation and test stay what they are, so that only this differs.

    Training and validation share it as their pools do, but validation has every class that it can
    have. Depends on the data set, `fraction` and `split_seed` only, never on the method.

    Raises:
        InputError: for a fraction outside (0, 1], one that leaves a class empty, or a data set
            that cannot be split.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction!r} is outside (0, 1]; 0.1 uses 10 % of the labels")
    if subset not in SUBSETS:
        raise unknown("subset", subset, SUBSETS)
    pools = make_pools(dataset, split_seed)
    train, val = pools.train, pools.val
    order = train.rows if subset == "drawn" else np.sort(train.rows)
    if shots:
        shown = _shows(dataset)
        few = [_shots(dataset.card, rows, shown, shots) for rows in (order, val.rows)]
        return Split(few[0], few[1], pools.test)
    # rounded half up: `round` would go to even numbers, 2.5 to 2 and 3.5 to 4
    total = int(fraction * pools.num_labels + 0.5)
    needed = train.needed + val.needed
    if total < needed:
        smallest = math.ceil(1e4 * needed / pools.num_labels) / 1e4
        raise InputError(
            f"fraction {fraction:g} of {dataset.card.name!r} is {total} labels and leaves a class "
            f"without a training or a validation image; the smallest that works is {smallest:g}"
        )
    # validation shrinks with training: paying for all validation labels at 10 % would hide them
    share = len(val.rows) / pools.num_labels
    num_val = min(max(int(total * share + 0.5), val.needed), total - train.needed)
    if subset == "first":
        return Split(_first(dataset, order, fraction), val.first(num_val), pools.test)
    return Split(train.first(total - num_val), val.first(num_val), pools.test)


def absent(dataset: Dataset, rows: np.ndarray) -> list[str]:
    """Return the classes that the set shows and none of `rows` does: scores say nothing of them."""
    shows = _shows(dataset)
    missing = np.flatnonzero(shows.any(0) & ~shows[rows].any(0))
    return [dataset.card.classes[k + dataset.card.first] for k in missing]


def _first(dataset: Dataset, rows: np.ndarray, fraction: float) -> np.ndarray:
    """Return the first `fraction` of `rows` (n,) of each class, at least one, in their order."""
    alike = np.zeros(len(rows), int)  # findings and masks have no one class
    if dataset.card.task == "classification":
        alike = dataset.labels[rows]
    parts = [rows[alike == k] for k in np.unique(alike)]
    return np.sort(np.concatenate([p[: max(1, round(fraction * len(p)))] for p in parts]))


def _shots(card: Card, rows: np.ndarray, shows: np.ndarray, shots: int) -> np.ndarray:
    """Return the first of `rows` until each class was shown `shots` times, others left out."""
    available = shows[rows].sum(0)
    if shots < 1 or available.min() < shots:
        k = int(available.argmin())
        name = card.classes[k + card.first]
        raise InputError(
            f"shots {shots} is not between 1 and {available[k]}, the images of class {name!r} of "
            f"{card.name!r} in training or validation"
        )
    taken, counts = [], np.zeros(shows.shape[1], int)
    # in the seeded order, so that 5 shots hold the images of 1 shot
    for row in rows:
        if (shows[row] & (counts < shots)).any():
            taken.append(row)
            counts += shows[row]
    return np.array(taken)


def make_pools(dataset: Dataset, split_seed: int) -> Pools:
    """Return the ordered pools of one split seed; what every fraction or shot count draws from.

    Raises:
        InputError: when there are too few groups for three parts, or a class has no training image.
    """
    shows = _shows(dataset)
    parts = np.asarray(dataset.splits)
    groups = np.unique(np.asarray(dataset.groups), return_inverse=True)[1]
    maker = _Maker(dataset.card.name, shows, groups, split_seed)
    test, val = np.flatnonzero(parts == "test"), np.flatnonzero(parts == "val")
    free = np.flatnonzero((parts != "test") & (parts != "val"))
    # official parts stay; a set with an official test part alone gets its validation from training
    if not len(test):
        test = maker.take(free, TEST_SHARE, reserve=1 if len(val) else 2, purpose="test")
        free = np.setdiff1d(free, test)
    if not len(val):
        val = maker.take(free, VAL_SHARE, reserve=1, purpose="validation")
        free = np.setdiff1d(free, val)
    missing = shows.any(0) & ~shows[free].any(0)
    if missing.any():
        first = int(missing.argmax()) + dataset.card.first
        raise InputError(
            f"{dataset.card.name!r} has no training image of class {dataset.card.classes[first]!r}"
        )
    pools = maker.pool(free, "training order"), maker.pool(val, "validation order")
    return Pools(*pools, np.sort(test))


def _shows(dataset: Dataset) -> np.ndarray:
    """Return (n, K): which classes an image shows; in segmentation of those of the foreground."""
    count = len(dataset.card.classes)
    if dataset.card.task == "classification":
        return dataset.labels[:, None] == np.arange(count)
    return (dataset.labels[:, None] >> np.arange(dataset.card.first, count)) & 1 == 1


@dataclass(frozen=True)
class _Maker:
    """Orders and draws groups; `shows` (n, K), `groups` (n,) numbers."""

    name: str
    shows: np.ndarray
    groups: np.ndarray
    split_seed: int

    def take(self, rows: np.ndarray, share: float, reserve: int, purpose: str) -> np.ndarray:
        """Return about `share` of `rows`: whole groups, and every class that can be spared.

        A group that holds one of the last `reserve` groups of a class stays behind.
        """
        members, shows = self._ordered(rows, purpose)
        left = shows.sum(0)
        covered = left <= reserve  # these classes have no group to give
        taken: list[np.ndarray] = []
        count = 0
        for group, classes in zip(members, shows, strict=True):
            enough = bool(taken) and count + len(group) / 2 > share * len(rows)
            new = (classes & ~covered).any()
            # the last groups of a class stay in training: a class without them cannot be learned
            scarce = (classes & (left <= reserve)).any() or len(members) - len(taken) <= reserve
            if scarce or (enough and not new):
                continue
            taken.append(group)
            count += len(group)
            left, covered = left - classes, covered | classes
        if not taken:
            raise InputError(
                f"{self.name!r} has too few groups to make a {purpose} part of ({len(members)}, "
                f"and some class is in at most {reserve} of them); add data or a split column"
            )
        return np.concatenate(taken)

    def pool(self, rows: np.ndarray, purpose: str) -> Pool:
        """Return `rows` as a pool, in the seeded order of `purpose`."""
        members, shows = self._ordered(rows, purpose)
        seen = np.logical_or.accumulate(shows, axis=0)
        cover = int((seen == seen[-1]).all(1).argmax()) + 1
        return Pool(np.concatenate(members), np.cumsum([len(m) for m in members]), cover)

    def _ordered(self, rows: np.ndarray, purpose: str) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the groups among `rows` in a stratified order: rows of each, classes (G, K).

        Groups that together show every class come first; then every prefix holds nearly the same
        share of every stratum. A group's stratum is the rarest class that it shows (the rule of
        Sechidis et al. 2011, "On the stratification of multi-label data").
        """
        # named by purpose, so that a change of one draw does not move the others
        generator = np.random.default_rng(_number(self.name, self.split_seed, purpose))
        numbers, inverse = np.unique(self.groups[rows], return_inverse=True)
        shows = np.zeros((len(numbers), self.shows.shape[1]), bool)
        np.logical_or.at(shows, inverse, self.shows[rows])
        sizes = np.bincount(inverse)
        shuffled = np.argsort(generator.random(len(numbers)))
        # the rarest class of each group, or K where it shows none
        rarity = np.argsort(shows.sum(0), kind="stable")
        rarest = rarity[shows[:, rarity].argmax(1)]
        strata = np.where(shows.any(1), rarest, shows.shape[1])
        order = _lead(_interleave(shuffled, strata, sizes), shows)
        members = np.split(rows[np.argsort(inverse, kind="stable")], np.cumsum(sizes)[:-1])
        return [members[g] for g in order], shows[order]


def _number(*parts: str | int) -> int:
    """Return a seed; the same in every process and on every platform."""
    return int(digest(json.dumps(parts)), 16)


def _interleave(shuffled: np.ndarray, strata: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the groups so that each stratum is spread evenly, in its shuffled order."""
    places = np.empty(len(shuffled))
    for value in np.unique(strata):
        own = shuffled[strata[shuffled] == value]
        ends = np.cumsum(sizes[own])
        places[own] = (ends - sizes[own] / 2) / ends[-1]
    return shuffled[np.argsort(places[shuffled], kind="stable")]


def _lead(order: np.ndarray, shows: np.ndarray) -> np.ndarray:
    """Return `order` with groups that together show every class moved to its front."""
    leaders: list[int] = []
    for k in np.argsort(shows.sum(0), kind="stable"):
        holders = order[shows[order, k]]
        if len(holders) and not shows[leaders, k].any():
            leaders.append(int(holders[0]))
    return np.concatenate([np.array(leaders, int), order[~np.isin(order, leaders)]])
