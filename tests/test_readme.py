"""What the README says is what the project does."""

import re
from pathlib import Path

import pytest
import tiny_backbones

from benchmark import audit
from benchmark.__main__ import main
from benchmark.catalogue import table
from methods import build

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLE = re.search(r"## Add a method.*?```python\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets"])
def test_tables_are_those_of_the_registries(kind):
    section = re.search(rf"<!-- list {kind} -->\n(.*?)\n<!-- end -->", README, re.DOTALL)
    told = f"paste the output of `python -m benchmark list {kind} --format markdown`"
    assert section, told
    assert section[1].strip() == table(kind, "markdown").strip(), told


def test_named_files_exist():
    for name in re.findall(r"`((?:benchmark|methods|results)/[\w/.]+)`", README):
        assert (Path(__file__).parent.parent / name).exists(), name


@pytest.fixture
def example(tmp_path, monkeypatch):
    (tmp_path / "my_method.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_method:ScaleMLP"


@pytest.mark.parametrize("family", ["vit", "swin", "convnext"])
@pytest.mark.parametrize("check", audit.CHECKS)
def test_the_example_method_passes_the_audit(example, family, check):
    audit.CHECKS[check](build(example), lambda: tiny_backbones.make(family))


def test_the_example_method_trains(example, tmp_path):
    command = ["run", "--methods", example, "--backbones", "tiny_vit", "--fractions", "0.1"]
    assert main([*command, "--steps", "2", "--runs", str(tmp_path / "runs")]) == 0
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 1
