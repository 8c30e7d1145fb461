from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from test_spec import make_cell
from torch import nn
from torch.nn import functional as F

from benchmark.core.cell import seed
from benchmark.core.registry import InputError
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training import balance
from benchmark.training.batches import Balanced, Shuffled
from benchmark.training.head import OrdinalClassifier
from benchmark.training.run import run
from benchmark.training.session import Session
from benchmark.training.tasks.classification import Classification

LABELS = np.array([0] * 9 + [1] * 3 + [2])


def test_weights_are_those_of_scikit_learn_and_average_to_one():
    found = balance.weights(LABELS, 3)
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=LABELS))
    assert np.array(found)[LABELS].mean() == pytest.approx(1)


def test_the_weighted_loss_adds_up_over_micro_batches():
    task = Classification(("a", "b", "c"), "kappa", weights=balance.weights(LABELS, 3))
    logits, labels = torch.randn(13, 3), torch.from_numpy(LABELS)
    each = F.cross_entropy(logits, labels, reduction="none")
    expected = (each * torch.tensor(task.weights)[labels]).sum() / 13
    assert task.loss(logits, labels) == pytest.approx(float(expected), rel=1e-5)
    parts = [
        task.loss(logits[s], labels[s]) * n / 13 for s, n in ((slice(4), 4), (slice(4, 13), 9))
    ]
    assert float(sum(parts)) == pytest.approx(float(expected), rel=1e-5)
    plain = replace(task, weights=())
    assert plain.loss(logits, labels) == pytest.approx(float(each.mean()), rel=1e-5)


def test_the_sampler_shows_classes_equally_and_every_image_before_any_twice():
    cell = make_cell(batch_size=6, balance="sampler")
    order = Balanced(LABELS, cell)
    drawn = np.concatenate([order(step) for step in range(9)])
    assert np.bincount(LABELS[drawn]).tolist() == [18, 18, 18]
    zeros = [p for p in drawn if LABELS[p] == 0]
    assert sorted(zeros[:9]) == sorted(zeros[9:]) == list(range(9))
    assert zeros[:9] != zeros[9:]
    again = Balanced(LABELS, cell)(3)
    assert np.array_equal(again, drawn[18:24])  # a function of the step: a resumed run agrees


def test_batches_are_those_of_the_plain_definition():
    # permutations that are kept must be those that were drawn anew for every image before
    cell, step = make_cell(batch_size=7), 5
    slots = range(7 * step, 7 * step + 7)
    order = seed(cell, "order")

    def permuted(*key, size):
        return np.random.default_rng([order, *key]).permutation(size)

    plain = [permuted(slot // 10, size=10)[slot % 10] for slot in slots]
    assert Shuffled(10, cell)(step).tolist() == plain
    members = [np.flatnonzero(k == LABELS) for k in range(3)]
    balanced = []
    for slot in slots:
        epoch, place = divmod(slot // 3, len(members[slot % 3]))
        drawn = permuted(epoch, slot % 3, size=len(members[slot % 3]))
        balanced.append(members[slot % 3][drawn[place]])
    assert Balanced(LABELS, cell)(step).tolist() == balanced


class Features(nn.Module):
    def forward(self, x):
        return x


def test_ordinal_probabilities_by_hand_and_their_sum():
    model = OrdinalClassifier(Features(), 2, 4)
    nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor([0.0, 2.0, -1.0])
    s = torch.sigmoid(torch.tensor([0.0, 2.0, -1.0]))
    expected = torch.stack(
        [1 - s[0], s[0] * (1 - s[1]), s[0] * s[1] * (1 - s[2]), s[0] * s[1] * s[2]]
    )
    probs = model(torch.zeros(1, 2)).exp()[0].detach()
    assert torch.allclose(probs, expected, atol=1e-6)
    assert float(probs.sum()) == pytest.approx(1)
    assert torch.allclose(model(torch.zeros(1, 2)).softmax(1)[0], expected, atol=1e-6)
    assert not model(torch.full((1, 2), 1e4)).isnan().any()


def test_cells_with_these_settings_train_and_differ(tmp_path):
    grid = Grid(
        ("linear",), ("tiny_vit",), fractions=(0.1,), steps=(6,), evaluations=(2,),
        batch_size=(8,), balance=tuple(balance.kinds), output=("softmax", "ordinal"),
    )  # fmt: skip
    cells = Resolver().cells([grid])
    assert len({cell.key for cell in cells}) == 6
    assert cells[0].key == replace(cells[0]).key
    session = Session(tmp_path / "cache", {})
    records = [run(cell, session, tmp_path / "runs") for cell in cells]
    assert len({record.test["loss"] for record in records}) == 6
    heads = {record.cell.output: record.cost.head_params for record in records}
    assert heads["softmax"] / heads["ordinal"] == 5 / 4


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"balance": ("both",)}, "known: loss, none, sampler"),
        ({"balance": ("loss",), "datasets": ("phantom_lesions",)}, "needs one class per image"),
        ({"output": ("coral",)}, "known: ordinal, softmax"),
        ({"output": ("ordinal",), "datasets": ("phantom_lesions",)}, "classes with an order"),
    ],
)
def test_settings_that_make_no_sense_are_one_sentence(axes, expected):
    with pytest.raises(InputError, match=expected):
        Resolver().cells([Grid(backbones=("tiny_vit",), **axes)])
