"""What a cell's first pass shows: tensors that never train fail, those a head leaves out do not."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from benchmark.core.registry import InputError
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training.run import run
from benchmark.training.session import Session
from methods import Method, seams

SHORT = {"fractions": (0.1,), "evaluations": (1,), "batch_size": (4,)}


@dataclass(frozen=True)
class Idle(Method):
    """Counts a matrix that nothing multiplies, beside one that is used."""

    paper = "none: a fault"
    used: bool = False

    def edit(self, backbone):
        backbone.blocks[0].idle = nn.Linear(2, 2)
        backbone.norm.bias.requires_grad_(self.used)

    def count(self, backbone):
        return 6 + 32 * self.used


class TimesZero:
    """A branch that gets 0 times what an adapter makes of its output."""

    def forward(self, x, *args, **kwargs):
        out = super().forward(x, *args, **kwargs)
        return out + 0 * self.adapter(out)


@dataclass(frozen=True)
class Silent(Method):
    """Counts a matrix that reaches the loss and never gets a gradient."""

    paper = "none: a fault"

    def edit(self, backbone):
        seams.extend(backbone.blocks[0].mlp, TimesZero, adapter=nn.Linear(32, 32))

    def count(self, backbone):
        return 32 * 32 + 32


def one(method, dataset="phantom_grading", backbone="tiny_vit", steps=2):
    grid = Grid((method,), (backbone,), (dataset,), steps=(steps,), **SHORT)
    (cell,) = Resolver().cells([grid])
    return cell


@pytest.mark.parametrize("used", [False, True])
def test_a_method_whose_tensors_reach_no_output_fails_in_one_sentence(used, tmp_path):
    cell = one(f"{__name__}:Idle(used={used})")
    with pytest.raises(InputError, match=r"no output of tiny_vit depends on, .*blocks\.0\.idle\."):
        run(cell, Session(tmp_path / "cache", {}), tmp_path)
    assert (cell.folder(tmp_path) / "error.txt").exists()
    assert not (cell.folder(tmp_path) / "record.json").exists()


def test_a_method_whose_gradients_are_all_zero_fails_in_one_sentence(tmp_path):
    cell = one(f"{__name__}:Silent", steps=10)
    steps = []
    with pytest.raises(InputError, match=r"gradients are all zero in the first 3 steps, such as"):
        run(cell, Session(tmp_path / "cache", {}), tmp_path, steps.append)
    assert steps == [1, 2]  # not after the whole training
    assert not (cell.folder(tmp_path) / "record.json").exists()


@pytest.mark.parametrize("method", ["dvpt", "lora", "compacter", "dvpt(start=up)", "mona"])
def test_a_method_with_zeros_at_its_start_is_no_fault(method, tmp_path):
    assert run(one(method, steps=4), Session(tmp_path / "cache", {}), tmp_path)


@pytest.mark.parametrize(
    ("method", "dataset", "backbone"),
    [
        ("norm", "phantom_lesions", "tiny_vit"),  # the last norm
        ("full", "phantom_lesions", "tiny_swin"),
        ("lst", "phantom_grading", "tiny_vit"),  # the first of its side outputs
    ],
)
def test_what_this_head_does_not_read_is_frozen_and_no_fault(method, dataset, backbone, tmp_path):
    cell = one(method, dataset, backbone)
    record = run(cell, Session(tmp_path / "cache", {}), tmp_path)
    from benchmark import backbones
    from methods import build

    counted = build(method).count(backbones.create(backbone, cell.image_size))
    assert 0 < record.cost.trainable_params <= counted
    assert torch.isfinite(torch.tensor(record.test["loss"]))
