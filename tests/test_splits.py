"""Splits over random data sets: disjoint by group, nested, stratified, seeded, official kept."""

import contextlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.core.registry import InputError
from benchmark.data import Card, Dataset, open_dataset, split

FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


def dataset(labels, groups=None, splits=None, task="classification", classes=None):
    labels = np.asarray(labels)
    ids = tuple(f"image{i:04d}" for i in range(len(labels)))
    names = tuple(str(k) for k in range(classes or int(labels.max()) + 1))
    return Dataset(
        card=Card("random", task, names, "", "", "", ""),
        ids=ids,
        labels=labels,
        groups=tuple(groups) if groups is not None else ids,
        splits=tuple(splits) if splits is not None else ("",) * len(labels),
        fingerprint="0",
        read_image=lambda i: None,
        read_mask=(lambda i: None) if task == "segmentation" else None,
    )


def random_dataset(seed):
    rng = np.random.default_rng(seed)
    classes, count = int(rng.integers(2, 6)), int(rng.integers(60, 300))
    labels = rng.choice(classes, count, p=rng.dirichlet(np.ones(classes) * 2))
    labels[: 5 * classes] = np.tile(np.arange(classes), 5)
    groups = None
    if seed % 2:
        groups = [f"patient{g}" for g in rng.integers(0, count // 3, count)]
    return dataset(labels, groups)


def splits_of(data, split_seed=0):
    """The splits of all fractions that work, ascending; 1.0 always must."""
    found = []
    for fraction in FRACTIONS[:-1]:
        with contextlib.suppress(InputError):  # a small fraction may leave a class empty
            found.append(split(data, fraction, split_seed))
    return [*found, split(data, 1.0, split_seed)]


@pytest.mark.parametrize("seed", range(60))
def test_parts_are_disjoint_by_group_and_lose_no_image(seed):
    data = random_dataset(seed)
    groups = np.asarray(data.groups)
    for part in splits_of(data):
        homes = [set(groups[rows]) for rows in (part.train, part.val, part.test)]
        assert sum(map(len, homes)) == len(set.union(*homes))
        used = np.concatenate([part.train, part.val, part.test])
        assert len(set(used.tolist())) == len(used)
    assert len(used) == len(data)


@pytest.mark.parametrize("seed", range(60))
def test_a_smaller_fraction_lies_inside_a_larger_one(seed):
    parts = splits_of(random_dataset(seed))
    for small, large in itertools.pairwise(parts):
        assert set(small.train) <= set(large.train)
        assert set(small.val) <= set(large.val)
        assert np.array_equal(small.test, large.test)
        assert small.labels_used <= large.labels_used


@pytest.mark.parametrize("seed", range(60))
def test_every_class_is_in_every_part(seed):
    data = random_dataset(seed)
    groups = np.asarray(data.groups)
    for part in splits_of(data):
        for k in range(len(data.card.classes)):
            if len(set(groups[data.labels == k])) < 8:
                continue  # mixed groups may hold a class's only other images
            for rows in (part.train, part.val, part.test):
                assert (data.labels[rows] == k).any()


def test_every_class_is_in_every_part_when_it_has_three_images():
    part = split(dataset([0] * 60 + [1] * 3), 1.0, 0)
    assert [int((rows >= 60).sum()) for rows in (part.train, part.val, part.test)] == [1, 1, 1]


def test_shares_are_those_that_are_promised():
    part = split(dataset([0] * 500 + [1] * 300 + [2] * 200), 0.1, 0)
    assert (len(part.test), part.labels_used, len(part.val)) == (200, 80, 16)
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    assert np.bincount(labels[part.test]).tolist() == [100, 60, 40]
    assert np.abs(np.bincount(labels[part.train]) - [32, 19.2, 12.8]).max() < 2


def test_split_seed_changes_our_test_set_and_the_subset():
    data = random_dataset(0)
    first, second = split(data, 0.4, 0), split(data, 0.4, 1)
    assert set(first.test) != set(second.test)
    assert set(first.train) != set(second.train)


def test_official_parts_never_move():
    marks = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    data = dataset(np.arange(100) % 2, splits=marks)
    for fraction in (0.1, 0.5, 1.0):
        for split_seed in (0, 1):
            part = split(data, fraction, split_seed)
            assert part.test.tolist() == list(range(80, 100))
            assert set(part.val) <= set(range(60, 80))
            assert len(part.val) == round(20 * fraction)
            assert len(part.train) == round(60 * fraction)
    assert set(split(data, 0.5, 0).train) != set(split(data, 0.5, 1).train)


def test_official_train_and_val_without_test_give_up_some_training_images():
    marks = ["train"] * 80 + ["val"] * 20
    part = split(dataset(np.arange(100) % 2, splits=marks), 1.0, 0)
    assert set(part.val) == set(range(80, 100))
    assert len(part.test) == 16
    assert set(part.test) <= set(range(80))


def test_the_smallest_fraction_that_is_named_works_and_a_smaller_one_does_not():
    data = dataset(np.repeat([0, 1, 2], [300, 90, 10]))
    with pytest.raises(InputError, match="leaves a class") as raised:
        split(data, 0.001, 0)
    smallest = float(str(raised.value).rsplit(" ", 1)[1])
    part = split(data, smallest, 0)
    for rows in (part.train, part.val):
        assert set(data.labels[rows]) == {0, 1, 2}
    with pytest.raises(InputError, match="leaves a class"):
        split(data, smallest - 2 / 320, 0)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.0001, float("nan")])
def test_fractions_outside_the_range_are_refused(fraction):
    with pytest.raises(InputError, match=r"outside \(0, 1\]"):
        split(random_dataset(0), fraction, 0)


def test_too_few_groups_are_refused():
    with pytest.raises(InputError, match="too few groups"):
        split(dataset([0, 1] * 10, groups=["a", "b"] * 10), 1.0, 0)


def test_a_class_only_in_the_official_test_set_is_refused():
    data = dataset([0, 1] * 10 + [2, 2], splits=["train"] * 20 + ["test"] * 2)
    with pytest.raises(InputError, match="no training image of class '2'"):
        split(data, 1.0, 0)


def test_a_structure_of_a_mask_is_in_training_and_validation():
    shown = np.array([0] * 80 + [0b010] * 16 + [0b100] * 4)  # bit k: class k is in the mask
    data = dataset(shown, task="segmentation", classes=3)
    part = split(data, 0.1, 0)
    for rows in (part.train, part.val):
        assert np.bitwise_or.reduce(shown[rows]) == 0b110


def test_row_order_of_the_manifest_does_not_move_a_group():
    rng = np.random.default_rng(3)
    labels, groups = rng.integers(0, 2, 120), [f"g{i:03d}" for i in range(120)]
    order = rng.permutation(120)
    first = dataset(labels, groups)
    second = dataset(labels[order], [groups[i] for i in order])
    named = [{data.groups[i] for i in split(data, 0.3, 0).train} for data in (first, second)]
    assert named[0] == named[1]


def test_another_process_draws_the_same_images():
    code = (
        "from benchmark.data import open_dataset, split\n"
        "print(split(open_dataset('phantom_grading'), .1, 3).train.tolist())"
    )
    root = Path(__file__).parent.parent
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert answers[0] == answers[1]
    assert answers[0].strip() == str(split(open_dataset("phantom_grading"), 0.1, 3).train.tolist())


def test_volumes_stay_whole_on_real_data(shared_data):
    data = open_dataset(str(shared_data / "hippocampus" / "manifest.csv"))
    part = split(data, 0.1, 0)
    groups = np.asarray(data.groups)
    assert not set(groups[part.train]) & set(groups[part.val])
    assert not set(groups[np.r_[part.train, part.val]]) & set(groups[part.test])
    assert abs(part.labels_used - 0.08 * len(data)) < 8
