"""Who is in training, validation and test: grouped, stratified, nested over label fractions.

One seeded stratified order of the groups is made, and every part is a prefix of it, so that a
smaller fraction is inside a larger one. Nothing here depends on the method.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np

from benchmark.data.base import Dataset, Split
from benchmark.registry import InputError

TEST_SHARE = 0.2  # of all images, where there is no official test set
VAL_SHARE = 0.2  # of the labels that a cell uses

Order = list[np.ndarray]  # groups, each as the row numbers of its images


def split(dataset: Dataset, fraction: float, split_seed: int) -> Split:
    """Return the rows of one cell.

    `fraction` is of the development images, training and validation together; the test set does
    not depend on it. Groups are never divided. Official splits never move.

    Raises:
        InputError: for a fraction outside (0, 1], one that leaves a class without a training
            image, or too few groups.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction!r} is outside (0, 1]; 0.1 uses 10 % of the labels")
    test, val, train = _pools(dataset, split_seed)
    parts = _take(dataset, train, val, fraction)
    if missing := _missing(dataset, parts[0]):
        raise InputError(
            f"fraction {fraction:g} of {dataset.card.name} leaves no training image of "
            f"{missing}; the smallest that works is {_smallest(dataset, train, val, fraction):g}"
        )
    return Split(train=parts[0], val=parts[1], test=_rows(test))


def _pools(dataset: Dataset, split_seed: int) -> tuple[Order, Order, Order]:
    """Return test, validation and training groups, in the order in which fractions take them."""
    if any(dataset.splits):
        parts = {name: _order(dataset, name, split_seed) for name in ("test", "val", "train")}
        if not parts["test"] or not parts["train"]:
            raise InputError(f"{dataset.card.name} has given splits, but no train or no test rows")
        if not parts["val"]:
            parts["val"], parts["train"] = _cut(parts["train"], VAL_SHARE, dataset)
        return parts["test"], parts["val"], parts["train"]
    order = _order(dataset, "", split_seed)
    if len(order) < 3:
        raise InputError(f"{dataset.card.name} has {len(order)} groups; a split needs at least 3")
    test, rest = _cut(order, TEST_SHARE, dataset)
    val, train = _cut(rest, VAL_SHARE, dataset)
    return test, val, train


def _order(dataset: Dataset, part: str, split_seed: int) -> Order:
    """Return the groups of an official part (or all) in a seeded order stratified by class.

    The first groups show each class once; then group j of the n_c of a class stands at (j + u) /
    n_c, u uniform, which spreads every class evenly over the order.
    """
    groups: dict[str, list[int]] = {}
    for row, (name, given) in enumerate(zip(dataset.groups, dataset.splits, strict=True)):
        if given == part:
            groups.setdefault(name, []).append(row)
    rng = np.random.default_rng(_seed(dataset.card.name, part, split_seed))
    members = [np.array(rows) for _, rows in sorted(groups.items())]
    strata: dict[int, list[np.ndarray]] = {}
    for index in rng.permutation(len(members)):
        rows = members[index]
        strata.setdefault(int(np.bincount(dataset.labels[rows]).argmax()), []).append(rows)
    placed = [
        ((0 if j == 0 else 1, (j + rng.random()) / len(stratum)), rows)
        for _, stratum in sorted(strata.items())
        for j, rows in enumerate(stratum)
    ]
    return [rows for _, rows in sorted(placed, key=lambda item: item[0])]


def _seed(*parts: object) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:15], 16)


def _cut(order: Order, share: float, dataset: Dataset) -> tuple[Order, Order]:
    """Return a prefix with this share of the images (each class once), and the rest."""
    wanted = _val_size(round(len(_rows(order)) / VAL_SHARE * share), dataset)
    count = min(max(len(list(_prefix(order, wanted))), 1), len(order) - 1)
    return order[:count], order[count:]


def _val_size(labels: int, dataset: Dataset) -> int:
    """Return how many of `labels` are for validation: the share, or one per class if more."""
    return max(round(VAL_SHARE * labels), _required(dataset))


def _required(dataset: Dataset) -> int:
    return len(dataset.card.classes) if dataset.card.task == "classification" else 1


def _take(
    dataset: Dataset, train: Order, val: Order, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and validation rows of a fraction."""
    budget = round(fraction * (len(_rows(train)) + len(_rows(val))))
    num_val = _val_size(budget, dataset)
    if any(split == "val" for split in dataset.splits):
        num_val = max(round(fraction * len(_rows(val))), _required(dataset))
    num_train = max(budget - num_val, 0)
    if fraction == 1:
        return _rows(train), _rows(val)
    return _rows(list(_prefix(train, num_train))), _rows(list(_prefix(val, num_val)))


def _prefix(order: Order, wanted: int) -> Iterator[np.ndarray]:
    """Yield whole groups until `wanted` images are reached."""
    taken = 0
    for rows in order:
        if taken >= wanted:
            return
        taken += len(rows)
        yield rows


def _rows(order: Order) -> np.ndarray:
    return np.concatenate(order) if order else np.zeros(0, np.int64)


def _missing(dataset: Dataset, train: np.ndarray) -> str:
    """Return the classes without a training image, as text; "" when there are none."""
    if dataset.card.task == "segmentation":
        return "" if len(train) else "any class"
    present = set(dataset.labels[train].tolist())
    return ", ".join(n for k, n in enumerate(dataset.card.classes) if k not in present)


def _smallest(dataset: Dataset, train: Order, val: Order, fraction: float) -> float:
    """Return the smallest fraction, in percent steps, that leaves no class empty."""
    for percent in range(math.floor(100 * fraction) + 1, 101):
        if not _missing(dataset, _take(dataset, train, val, percent / 100)[0]):
            return percent / 100
    return math.nan
