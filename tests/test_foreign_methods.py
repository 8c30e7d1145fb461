"""A method of the user's own that is broken is an error of that method, and of nothing else."""

import pytest
import trees

from benchmark.__main__ import main

HEAD = """
import sys
from dataclasses import dataclass
from methods import Method
@dataclass(frozen=True)
class Mine(Method):
"""
GOOD = """
    def edit(self, backbone): pass
    def count(self, backbone): return 0
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """What trains `linear` and then a method of this source; returns the exit code."""
    for number in range(12):
        trees.picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", value=20 * number)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(module, source, *flags, spec="Mine"):
        (tmp_path / f"{module}.py").write_text(source)
        axes = "--backbones tiny_vit --fractions 1.0 --steps 2 --batch-size 4 --evaluations 1"
        places = ["--datasets", str(tmp_path / "set"), "--runs", str(tmp_path / "runs")]
        return main(["run", "--methods", f"linear,{module}:{spec}", *axes.split(), *places, *flags])

    return run


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("raises", "raise RuntimeError('no\\nway')", "RuntimeError: no way"),
        ("syntax", "def (", "SyntaxError"),
        ("leaves", "import sys; sys.exit(0)", "SystemExit: 0"),
        ("key", "{}['x']", "KeyError: 'x'"),
        ("post", f"{HEAD}{GOOD}    def __post_init__(self): raise TypeError('p')", "TypeError: p"),
        ("needs", f"{HEAD}    width: int\n{GOOD}", "missing 1 required positional argument"),
        ("text", f"{HEAD}{GOOD}    def __str__(self): raise ValueError('s')", "ValueError: s"),
        ("rate", f"{HEAD}{GOOD}    lr = 'x'", "lr 'x' must be a number above 0"),
    ],
)
def test_what_is_wrong_is_said_before_any_training(train, tmp_path, capsys, name, source, told):
    assert train(f"broken_{name}", source) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("record.json"))


def test_a_search_space_of_another_form(train, capsys):
    source = f"{HEAD}{GOOD}    def search_space(self): return 5"
    assert train("space", source, "--tune-budget", "2") == 2
    assert "the method 'space:Mine' cannot be used: AttributeError" in capsys.readouterr().err


def test_a_method_that_leaves_the_program_fails_its_own_cell(train, tmp_path, capsys):
    source = f"{HEAD}    def edit(self, backbone): sys.exit(0)\n    def count(self, b): return 0"
    assert train("leaver", source) == 1
    assert "FAILED" in capsys.readouterr().err
    assert len(list(tmp_path.rglob("record.json"))) == 1


ADAPTER = """
from methods import families, seams
import torch
from torch import nn

@dataclass(frozen=True)
class Mine(Mine):
    def edit(self, backbone):
        for block in families.blocks(backbone):
            seams.extend(block.mlp, Added, bias=nn.Parameter(torch.zeros(families.width(block))))
    def count(self, backbone): return sum(map(families.width, families.blocks(backbone)))
"""
ADDED = """
class Added:
    def forward(self, x):
        {line}
        return super().forward(x) + self.bias
"""


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("late", "self.more = nn.Parameter(torch.ones(1))", "makes blocks.0.mlp.more, "),
        (
            "writes",
            "self.training and self.fc1.weight.data.mul_(1.1)",
            "writes to frozen weights while it runs",
        ),
    ],
)
def test_what_a_delta_would_not_hold_fails_the_cell(train, tmp_path, capsys, name, line, told):
    source = f"{HEAD}{GOOD}{ADAPTER}{ADDED.format(line=line)}"
    assert train(f"made_{name}", source, "--seeds", "0,1") == 1
    assert capsys.readouterr().err.count(f"FAILED: made_{name}:Mine {told}") == 2
    assert len(list(tmp_path.rglob("record.json"))) == 2  # of `linear`


LOST = "    def edit(self, b): raise RuntimeError('CUDA error: device-side assert')\n"


def test_a_lost_gpu_ends_this_process_and_the_next_one_goes_on(train, tmp_path, capsys):
    assert train("lost", f"{HEAD}{LOST}    def count(self, b): return 0", "--seeds", "0,1") == 1
    error = capsys.readouterr().err
    assert "error: the GPU was lost in " in error
    assert "Traceback" not in error
    records = [path.parent.parent.name for path in tmp_path.rglob("record.json")]
    assert records == ["linear", "linear"]  # one more of `lost` is to do
    assert not list(tmp_path.rglob("claim.json"))


def test_a_worker_that_lost_its_gpu_is_replaced_and_the_other_cells_are_trained(
    train, tmp_path, capfd
):
    source = f"{HEAD}{LOST}    def count(self, b): return 0"
    assert train("gone", source, "--executor", "local", "--jobs", "1", "--seeds", "0,1") == 1
    told = capfd.readouterr().err
    assert told.count("FAILED: its process was killed 3 x") == 2
    assert told.count("the GPU was lost in ") == 6
    assert "Traceback" not in told
    assert len(list(tmp_path.rglob("record.json"))) == 2


@pytest.mark.parametrize("name", [":Cls", "../evil:Cls", ".x:A", "a.:b", "a:b:c", "a b:c", "x:"])
def test_names_that_lead_elsewhere_are_refused(name, tmp_path, capsys):
    assert main(["run", "--methods", name, "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "spec",
    ["lora(targets=3)", "lora(alpha=None)", "lora(alpha='x')", "lora(dropout=2)",
     "lora(dropout=-1)", "lora(rank=True)", "lora(rank=1.5)", "lora(rank_stabilized=1)"],
)  # fmt: skip
def test_values_of_another_type_or_range_are_refused_before_training(spec, tmp_path, capsys):
    assert main(["run", "--methods", spec, "--runs", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_worker_may_start_processes_as_it_does_to_decode_images(train, tmp_path):
    source = f"""{HEAD}    def edit(self, backbone):
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            assert pool.submit(abs, -1).result() == 1
    def count(self, backbone): return 0
"""
    assert train("starter", source, "--executor", "local", "--jobs", "1") == 0
    assert len(list(tmp_path.rglob("record.json"))) == 2
