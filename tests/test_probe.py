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
from methods import Method

SHORT = {"fractions": (0.1,), "steps": (2,), "evaluations": (1,), "batch_size": (4,)}


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


def one(method, dataset="phantom_grading", backbone="tiny_vit"):
    (cell,) = Resolver().cells([Grid((method,), (backbone,), (dataset,), **SHORT)])
    return cell


@pytest.mark.parametrize("used", [False, True])
def test_a_method_whose_tensors_reach_no_output_fails_in_one_sentence(used, tmp_path):
    cell = one(f"{__name__}:Idle(used={used})")
    with pytest.raises(InputError, match=r"no output of tiny_vit depends on, .*blocks\.0\.idle\."):
        run(cell, Session(tmp_path / "cache", {}), tmp_path)
    assert (cell.folder(tmp_path) / "error.txt").exists()
    assert not (cell.folder(tmp_path) / "record.json").exists()


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
