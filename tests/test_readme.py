"""What the README says is what the project does."""

import itertools
import re
from pathlib import Path

import pytest

import methods
from benchmark import audit
from benchmark.__main__ import main
from benchmark.audit import show
from benchmark.audit.families import FAMILIES, make
from benchmark.sweep.catalogue import table

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLE = re.search(r"## Add a method.*?```python\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets"])
def test_tables_are_those_of_the_registries(kind):
    section = re.search(rf"<!-- list {kind} -->\n(.*?)\n<!-- end -->", README, re.DOTALL)
    told = f"paste the output of `python -m benchmark list {kind} --format markdown`"
    assert section, told
    assert section[1].strip() == table(kind, "markdown").strip(), told


def test_the_audit_matrix_is_that_of_today():
    # what the matrix calls "pass", the contract tests run
    pairs = itertools.product(methods.methods, FAMILIES)
    verdicts = [
        audit.Verdict(spec, family, "n/a" if reason else "pass", reason=reason or "")
        for spec, family in pairs
        for reason in [methods.build(spec).unsupported(make(family))]
    ]
    section = re.search(r"<!-- audit -->\n(.*?)\n<!-- end -->", README, re.DOTALL)
    assert section[1] == show.matrix(verdicts, "markdown"), "run .ci/refresh_readme"


def test_named_files_exist():
    for name in re.findall(r"`((?:benchmark|methods|results)/[\w/.]+)`", README):
        assert (Path(__file__).parent.parent / name).exists(), name


@pytest.fixture
def example(tmp_path, monkeypatch):
    (tmp_path / "my_method.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_method:ScaleMLP"


@pytest.mark.parametrize("family", ["vit", "swin", "convnext"])
def test_the_example_method_passes_the_audit(example, family):
    verdict = audit.examine(example, family)
    assert verdict.state == "pass", f"{verdict.check}: {verdict.reason}"


def test_the_example_method_trains(example, tmp_path):
    command = ["run", "--methods", example, "--backbones", "tiny_vit", "--fractions", "0.1"]
    assert main([*command, "--steps", "2", "--runs", str(tmp_path / "runs")]) == 0
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 1
