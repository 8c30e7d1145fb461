import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from test_spec import make_cell
from torch import nn

from benchmark.training import cost, first_pass
from benchmark.training.batches import Shuffled
from benchmark.training.checkpoint import Interrupted
from benchmark.training.fit import Setup, evaluate, fit, set_mode
from benchmark.training.head import Model
from benchmark.training.optimizer import optimizer_of
from benchmark.training.schedule import decay_start, evaluation_steps, last_step, learning_rate
from benchmark.training.source import Images, Subset
from benchmark.training.tasks.classification import Classification

SIDE = 8


class Body(nn.Module):
    """A net with frozen, trained and unreachable tensors, batch norm and dropout."""

    num_features = 6

    def __init__(self):
        super().__init__()
        self.frozen = nn.Conv2d(3, 6, 3).requires_grad_(False)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.2)
        self.unreached = nn.Linear(2, 2)

    def forward(self, x):
        return self.drop(self.norm(self.frozen(x)).relu()).mean((2, 3))


def normalize(images):
    return images / 127.5 - 1


def subset(size, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, size)
    images = rng.integers(0, 200, (size, SIDE, SIDE, 3)).astype(np.uint8)
    images[targets == 1, :, : SIDE // 2] += 50
    names = [f"i{i}" for i in range(size)]
    return Images(Subset(images, targets, np.arange(size), names, names), normalize)


def make_setup(tmp_path, **changes):
    torch.manual_seed(0)
    task = Classification(("a", "b"), "balanced_accuracy")
    model = task.model(Body())
    values = {
        "model": model,
        "task": task,
        "device": torch.device("cpu"),
        "precision": "fp32",
        "live_batch_norm": False,
        "state": lambda: dict(model.state_dict()),
        "restore": model.load_state_dict,
        "checkpoint": tmp_path / "checkpoint.pt",
    }
    return Setup(**{**values, **changes})


def cell(**changes):
    return make_cell(**{"steps": 12, "batch_size": 4, "evaluations": 3, "lr": 0.01, **changes})


def test_schedule_starts_at_lr_over_warmup_and_ends_near_zero():
    config = cell(steps=100, warmup=0.1, lr=1.0)
    rates = [learning_rate(t, config) for t in range(100)]
    assert rates[:10] == pytest.approx([(t + 1) / 10 for t in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert 0 < rates[-1] < 0.001
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))


def test_until_converged_the_rate_is_constant_until_patience_ends():
    config = cell(steps=100, evaluations=10, patience=2, warmup=0.5, lr=1.0)
    assert evaluation_steps(config) == tuple(range(10, 101, 10))
    # warm-up over half of the first two evaluations, then the peak for as long as it takes
    assert [learning_rate(t, config) for t in (0, 4, 9, 10, 70, 99)] == [0.1, 0.5, 1, 1, 1, 1]
    assert last_step(config, 0) == 100
    # the best is at 30: two evaluations later, and not one, the decay begins
    assert [decay_start(config, step, 30) for step in (30, 40, 50)] == [0, 0, 50]
    assert last_step(config, 50) == 70
    decay = [learning_rate(t, config, 50) for t in range(50, 70)]
    assert decay[0] == 1
    assert decay[5] == pytest.approx(0.5)  # 1 - sqrt(5 / 20)
    assert decay[19] == pytest.approx(1 - math.sqrt(19 / 20))
    assert [learning_rate(t, config, 50) for t in (49, 20)] == [1, 1]
    # what still improves decays in time to end with the most steps
    assert [decay_start(config, step, step) for step in (70, 80)] == [0, 80]
    assert last_step(config, 80) == 100
    assert decay_start(cell(steps=100, evaluations=10), 80, 10) == 0


class Scripted:
    """A classification whose score on validation is said beforehand, one number per evaluation."""

    def __init__(self, values):
        self.task, self.values = Classification(("a", "b"), "balanced_accuracy"), iter(values)

    def __getattr__(self, name):
        return getattr(self.task, name)

    def scores(self, results, groups):
        return {"balanced_accuracy": next(self.values), "loss": 1.0}


def test_training_ends_when_validation_stops_improving(tmp_path):
    config = cell(steps=40, evaluations=20, patience=3)
    scores = [0.5, 0.6, 0.6, 0.55, 0.5, 0.58, 0.7, 0.65]
    setup = make_setup(tmp_path, task=Scripted(scores))
    progress = fit(setup, subset(16), subset(8, 1), config)
    # best at step 4, three evaluations later the decay begins, and three later all ends: the better
    # score within the decay is taken, and lengthens nothing
    assert progress.decays_from == 10
    assert progress.step == 16
    assert progress.selected_step == 14
    assert [p["step"] for p in progress.history] == [2, 4, 6, 8, 10, 12, 14, 16]
    rising = make_setup(tmp_path / "other", task=Scripted([i / 100 for i in range(20)]))
    rising.checkpoint.parent.mkdir()
    progress = fit(rising, subset(16), subset(8, 1), config)
    assert (progress.step, progress.decays_from, progress.selected_step) == (40, 34, 40)


def test_batches_are_full_and_run_through_all_images():
    config = cell(batch_size=4)
    drawn = np.concatenate([Shuffled(6, config)(t) for t in range(6)])
    assert [len(Shuffled(3, config)(t)) for t in range(2)] == [4, 4]
    for epoch in range(4):
        assert sorted(drawn[6 * epoch : 6 * epoch + 6]) == list(range(6))
    assert drawn[:6].tolist() != drawn[6:12].tolist()


def test_optimizer_takes_trained_tensors_only():
    model = Model(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    groups = optimizer_of(model, cell(weight_decay=0.1)).param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in model.head.parameters()}
    assert [(g["weight_decay"], g["params"][0].ndim) for g in groups] == [(0.1, 2), (0.0, 1)]


def test_the_head_has_a_learning_rate_of_its_own(tmp_path):
    setup = make_setup(tmp_path)
    groups = optimizer_of(setup.model, cell(lr=1e-4, head_lr=1e-3, weight_decay=0.1)).param_groups
    head = {id(p) for p in setup.model.head.parameters()}
    shares = {id(p): g["share"] for g in groups for p in g["params"]}
    expected = {key: pytest.approx(10 if key in head else 1) for key in shares}
    assert head < shares.keys()
    assert shares == expected
    assert sorted(g["weight_decay"] for g in groups) == [0, 0, 0.1, 0.1]
    now = {n: p for n, p in setup.model.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in now.items()}
    fit(setup, subset(16), subset(8, 1), cell(lr=1e-30, head_lr=1e-2, steps=2))
    moved = {n for n in before if not now[n].allclose(before[n])}
    assert moved == {n for n in before if n.startswith("head.")}


def test_running_statistics_move_only_where_the_method_lets_them(tmp_path):
    for live in (False, True):
        setup = make_setup(tmp_path / str(live), live_batch_norm=live)
        setup.checkpoint.parent.mkdir()
        before = setup.model.body.norm.running_mean.clone()
        fit(setup, subset(16), subset(8, 1), cell())
        assert torch.equal(before, setup.model.body.norm.running_mean) is not live


def test_added_dropout_is_live_in_training_and_off_in_evaluation(tmp_path):
    setup = make_setup(tmp_path)
    set_mode(setup.model, False)
    assert setup.model.body.drop.training
    first, second = evaluate(setup, subset(8)), evaluate(setup, subset(8))
    assert np.array_equal(first["probs"], second["probs"])


def test_frozen_tensors_stay_and_trained_ones_move(tmp_path):
    setup = make_setup(tmp_path)
    before = {name: t.clone() for name, t in setup.model.state_dict().items()}
    found = first_pass.first_pass(setup, setup.model, subset(16), "bias")
    first_pass.freeze_unreached(setup.model, found.unreached)
    fit(setup, subset(16), subset(8, 1), cell())
    after = setup.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"body.norm.weight", "body.norm.bias", "head.weight", "head.bias"}


def test_first_pass_freezes_what_cannot_reach_the_loss_and_counts_flops(tmp_path):
    setup = make_setup(tmp_path)
    found = first_pass.first_pass(setup, setup.model, subset(16), "bias")
    assert found.unreached == ("body.unreached.weight", "body.unreached.bias")
    assert setup.model.body.unreached.weight.requires_grad  # looking changes nothing
    first_pass.freeze_unreached(setup.model, found.unreached)
    assert not setup.model.body.unreached.weight.requires_grad
    assert setup.model.body.norm.weight.requires_grad
    assert all(p.grad is None for p in setup.model.parameters())
    # forward: convolution 6*6 places * 6 * 27, head 6 * 2, two operations each;
    # backward: the head's two products and, below it, nothing of the frozen convolution
    forward = 2 * (36 * 6 * 27 + 12)
    assert found.gflop * 1e9 == forward + 2 * 2 * 12
    counts = cost.parameters(setup.model.body, setup.model.head)
    assert counts["trainable_params"] == 12
    assert counts["head_params"] == 14


def test_the_best_validation_point_is_kept(tmp_path):
    setup = make_setup(tmp_path)
    progress = fit(setup, subset(16), subset(8, 1), cell())
    steps = [point["step"] for point in progress.history]
    assert steps == [4, 8, 12]
    ranks = [(p["val_balanced_accuracy"], -p["val_loss"]) for p in progress.history]
    assert progress.selected_step == steps[ranks.index(max(ranks))]
    scores = setup.task.scores(evaluate(setup, subset(8, 1)), [])
    assert (scores["balanced_accuracy"], -scores["loss"]) == max(ranks)


class KilledError(Exception):
    pass


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    def kill(step):
        if step == 6:
            raise KilledError

    whole = make_setup(tmp_path, checkpoint=tmp_path / "whole.pt")
    expected = fit(whole, subset(16), subset(8, 1), cell())
    broken = make_setup(tmp_path)
    with pytest.raises(KilledError):
        fit(broken, subset(16), subset(8, 1), cell(), kill)
    resumed_steps = []
    resumed = make_setup(tmp_path)
    torch.rand(7)  # another state of the global generator must not matter
    found = fit(resumed, subset(16), subset(8, 1), cell(), resumed_steps.append)
    assert resumed_steps[0] == 5
    assert found.history == expected.history
    assert all(torch.equal(found.best[n], t) for n, t in expected.best.items())


def test_a_loss_that_is_not_finite_is_a_failure(tmp_path):
    setup = make_setup(tmp_path)
    train = dataclasses.replace(subset(16), normalize=lambda images: images * math.inf)
    with pytest.raises(FloatingPointError, match="loss became"):
        fit(setup, train, subset(8, 1), cell())


# until converged, before the decay, where it begins and within it
STOPS = [(at, {}) for at in (1, 6, 7)]
STOPS += [
    (at, {"steps": 40, "evaluations": 20, "patience": 2, "lr": 0.5}) for at in (3, 9, 10, 11, 12)
]


@pytest.mark.parametrize(("at", "changes"), STOPS)
def test_stopped_between_evaluations_and_resumed_equals_uninterrupted(tmp_path, at, changes):
    whole = make_setup(tmp_path, checkpoint=tmp_path / "whole.pt")
    config = cell(**changes)
    expected = fit(whole, subset(16), subset(8, 1), config)
    with pytest.raises(Interrupted, match=f"after step {at}"):
        fit(make_setup(tmp_path), subset(16), subset(8, 1), config, lambda step: step == at)
    steps = []
    found = fit(make_setup(tmp_path), subset(16), subset(8, 1), config, steps.append)
    assert steps[0] == at + 1
    assert (found.step, found.decays_from) == (expected.step, expected.decays_from)
    assert found.decays_from == (10 if changes else 0)
    assert found.history == expected.history
    assert all(torch.equal(found.best[n], t) for n, t in expected.best.items())


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path):
    # sums in another order: equal to float32 rounding, not to the bit
    whole = make_setup(tmp_path, checkpoint=tmp_path / "whole.pt")
    parts = make_setup(tmp_path, checkpoint=tmp_path / "parts.pt", micro_batch=3)
    ends = [fit(setup, subset(16), subset(8, 1), cell()) for setup in (whole, parts)]
    for name, tensor in ends[0].best.items():
        torch.testing.assert_close(ends[1].best[name], tensor, rtol=1e-3, atol=1e-5)
    losses = [[point["train_loss"] for point in end.history] for end in ends]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
