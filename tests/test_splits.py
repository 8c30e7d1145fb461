import numpy as np
import pytest

from benchmark.data import Card, Dataset, split
from benchmark.registry import InputError


def make(labels, groups=None, splits=None, task="classification"):
    names = tuple(f"i{i}" for i in range(len(labels)))
    classes = tuple(f"c{k}" for k in range(max(labels) + 1))
    return Dataset(
        card=Card("made", task, classes, "", "", "", ""),
        ids=names,
        labels=np.array(labels, np.int64),
        groups=tuple(groups or names),
        splits=tuple(splits or ("",) * len(labels)),
        fingerprint="f",
        read_image=lambda i: np.zeros((4, 4, 3), np.uint8),
    )


def random_dataset(number):
    """Return a data set with random classes, groups of random size and sometimes given splits."""
    rng = np.random.default_rng(number)
    count, num_classes = int(rng.integers(60, 300)), int(rng.integers(2, 5))
    labels = [*range(num_classes)] * 6 + rng.integers(0, num_classes, count).tolist()
    groups = [f"g{i}" for i in range(6 * num_classes)]
    groups += [f"h{g}" for g in rng.integers(0, count // int(rng.integers(1, 4)), count)]
    given = {g: str(rng.choice(["train", "train", "train", "val", "test"])) for g in groups}
    given |= {
        f"g{i}": ("train", "val", "test")[i // num_classes % 3] for i in range(6 * num_classes)
    }
    splits = [given[g] for g in groups] if number % 3 == 0 else None
    return make(labels, groups, splits)


@pytest.mark.parametrize("number", range(30))
def test_splits_are_disjoint_nested_and_grouped(number):
    dataset = random_dataset(number)
    smaller = None
    for fraction in (0.2, 0.4, 0.75, 1.0):
        rows = split(dataset, fraction, number)
        parts = [set(part.tolist()) for part in (rows.train, rows.val, rows.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        groups = [{dataset.groups[i] for i in part} for part in parts]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        if smaller is not None:
            assert smaller[0] <= parts[0]
            assert smaller[1] <= parts[1]
            assert smaller[2] == parts[2]
        smaller = parts
        if dataset.splits[0]:
            for part, name in zip(parts, ("train", "val", "test"), strict=True):
                assert {dataset.splits[i] for i in part} == {name}
        assert set(dataset.labels[rows.train].tolist()) == set(range(len(dataset.card.classes)))
    assert sum(map(len, parts)) == len(dataset)


def test_fractions_count_training_and_validation_labels():
    dataset = make([0, 1, 2, 3] * 100)
    for fraction, labels in ((0.1, 32), (0.5, 160), (1.0, 320)):
        rows = split(dataset, fraction, 0)
        assert rows.labels_used == labels
        assert len(rows.val) == pytest.approx(0.2 * labels, abs=1)
        assert len(rows.test) == 80


def test_every_part_is_stratified():
    dataset = make([0] * 300 + [1] * 100)
    for fraction in (0.1, 0.3, 1.0):
        rows = split(dataset, fraction, 0)
        for part in (rows.train, rows.val, rows.test):
            assert abs((dataset.labels[part] == 1).sum() - 0.25 * len(part)) <= 1.5


def test_the_split_seed_changes_everything_but_official_tests():
    free = make([0, 1] * 60)
    assert split(free, 1.0, 0).test.tolist() != split(free, 1.0, 1).test.tolist()
    given = make([0, 1] * 60, splits=["train"] * 80 + ["test"] * 40)
    first, second = split(given, 0.5, 0), split(given, 0.5, 1)
    assert set(first.test.tolist()) == set(second.test.tolist())
    assert set(first.train.tolist()) != set(second.train.tolist())
    assert split(free, 0.5, 3).train.tolist() == split(free, 0.5, 3).train.tolist()


def test_bad_fractions():
    dataset = make([0, 1] * 60)
    for fraction in (0.0, -0.1, 1.5):
        with pytest.raises(InputError, match="is outside"):
            split(dataset, fraction, 0)


def test_a_fraction_that_leaves_a_class_empty_says_which_one_works():
    dataset = make([0] * 90 + [1] * 6 + [2] * 4)
    with pytest.raises(InputError, match="leaves no training image of") as caught:
        split(dataset, 0.05, 0)
    works = float(str(caught.value).rsplit(" ", 1)[1])
    assert set(dataset.labels[split(dataset, works, 0).train]) == {0, 1, 2}
    with pytest.raises(InputError):
        split(dataset, works - 0.01, 0)


def test_too_few_groups():
    with pytest.raises(InputError, match="needs at least 3"):
        split(make([0, 1] * 4, groups=["a", "b"] * 4), 1.0, 0)
