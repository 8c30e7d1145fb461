"""Copies of a backbone are equal to it, and no cell can change what the next one starts from."""

from dataclasses import replace

import pytest
import torch

import methods
from benchmark import backbones
from benchmark.backbones.shared import Pristine, own_trained
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training import first_pass
from benchmark.training.run import run
from benchmark.training.session import Session

CPU = torch.device("cpu")
TINY = ("tiny_vit", "tiny_swin", "tiny_convnext", "tiny_resnet", "tiny_pvt")


def made(name):
    return Pristine(lambda: backbones.create(name, 32), CPU)


@pytest.mark.parametrize("name", TINY)
def test_a_copy_is_the_model(name):
    pristine, model = made(name), backbones.create(name, 32)
    copied, x = pristine.copy(), torch.randn(2, 3, 32, 32)
    assert str(copied) == str(model)
    states = copied.state_dict(), model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    with torch.no_grad():
        assert torch.equal(copied(x), model(x))


@pytest.mark.parametrize("name", ["tiny_vit", "tiny_resnet"])
def test_full_training_of_a_copy_leaves_the_next_one_alone(name):
    pristine, wanted = made(name), backbones.create(name, 32).state_dict()
    copied = methods.build("full").attach(pristine.copy())
    own_trained(copied)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1.0)
        for buffer in copied.buffers():
            buffer.add_(1)
    found = pristine.copy().state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_frozen_weights_are_shared_and_trained_ones_are_not():
    pristine = made("tiny_vit")
    first, second = pristine.copy(), methods.build("bitfit").attach(pristine.copy())
    own_trained(second)
    for name, parameter in first.named_parameters():
        other = dict(second.named_parameters())[name]
        assert (parameter.data_ptr() == other.data_ptr()) is not other.requires_grad, name


def _merge(model):
    method = methods.build("lora(targets=qkv)")
    method.attach(model)
    for parameter in methods.trainable(model).values():
        parameter.data.fill_(0.1)
    methods.merge(method, model)  # writes into frozen weights


@torch.no_grad()
def _permute(model):
    weight = model.blocks[0].mlp.fc1.weight
    weight.copy_(weight.flip(0))  # no sum of the values sees it


WRITES = {
    "merge": _merge,
    "permute": _permute,
    "data": lambda model: model.norm.weight.data.mul_(2),
    "half of a bias": lambda model: model.norm.bias.data[:1].add_(1e-9),
}


@pytest.mark.parametrize("write", WRITES)
def test_writing_to_shared_weights_is_found_and_mended(write):
    calls = []

    def make():
        calls.append(1)
        return backbones.create("tiny_vit", 32)

    pristine = Pristine(make, CPU)
    wanted = backbones.create("tiny_vit", 32).state_dict()
    WRITES[write](pristine.copy())
    found = pristine.copy().state_dict()
    assert len(calls) == 2
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    pristine.copy()
    assert len(calls) == 2


def test_tied_parameters_stay_tied():
    def make():
        model = backbones.create("tiny_vit", 32)
        model.blocks[1].mlp = model.blocks[0].mlp
        return model

    copied = Pristine(make, CPU).copy()
    assert copied.blocks[1].mlp.fc1.weight is copied.blocks[0].mlp.fc1.weight


def test_hooks_and_precision_of_a_model_come_along():
    def make():
        model = backbones.create("tiny_vit", 32)
        model.register_forward_hook(lambda *_: None)
        return model.to(torch.bfloat16)

    copied = Pristine(make, CPU).copy()
    assert len(copied._forward_hooks) == 1
    assert copied.norm.weight.dtype == torch.bfloat16


@pytest.fixture
def cells():
    grid = Grid(("full", "lora"), ("tiny_vit",), ("phantom_lesions",), (0.1,), seeds=(0, 1))
    short = replace(grid, steps=(2,), evaluations=(1,), batch_size=(4,), image_size=(32,))
    resolver = Resolver()
    return resolver.cells([short]), resolver.sources


def test_a_warm_session_gives_the_numbers_of_a_fresh_one(cells, tmp_path, monkeypatch):
    # segmentation does not reach the final norm: what a first pass froze must be frozen later too
    passes, real = [], first_pass.first_pass
    monkeypatch.setattr(first_pass, "first_pass", lambda *a: passes.append(1) or real(*a))
    found, sources = cells
    warm = Session(cache=tmp_path / "cache", sources=sources, device=CPU)
    for cell in found:
        fresh = Session(cache=tmp_path / "cache", sources=sources, device=CPU)
        apart = run(cell, fresh, tmp_path / "apart")
        together = run(cell, warm, tmp_path / "together")
        assert (apart.val, apart.test, apart.history) == (
            together.val,
            together.test,
            together.history,
        )
        for name in ("trainable_params", "train_gflop_per_image", "delta_bytes"):
            assert getattr(apart.cost, name) == getattr(together.cost, name), name
    assert len(passes) == len(found) + 2  # fresh each time, warm once per method
