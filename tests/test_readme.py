"""What the README files say is what the project does."""

import itertools
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import methods
from benchmark import auditing
from benchmark.__main__ import main
from benchmark.auditing import show
from benchmark.auditing.families import FAMILIES, make
from benchmark.backbones import backbones
from benchmark.data import datasets
from benchmark.sweep import names
from benchmark.sweep.catalogue import generated, table

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in (".", "benchmark", "benchmark/*", "methods", "results", "slurm")
    for path in ROOT.glob(f"{folder}/README.md")
}
EXAMPLE, CHOOSING = re.findall(
    r"```python\n(.*?)```", PAGES["methods/README.md"].split("## Add a method")[1], re.DOTALL
)[:2]


def between(mark):
    """The text of the only page that has `<!-- mark -->`, up to `<!-- end -->`."""
    (page,) = (text for text in PAGES.values() if f"<!-- {mark} -->" in text)
    return re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)[1]


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets"])
def test_tables_are_those_of_the_registries(kind):
    expected = generated(kind).strip()
    assert between(f"list {kind}") == expected, "run .ci/refresh_readme --tables"


def test_names_known_without_torch_are_those_of_the_registries():
    assert names.method_names() == list(methods.methods)
    assert names.backbone_names() == list(backbones)
    assert names.dataset_names() == list(datasets)


@pytest.mark.parametrize("kind", ["methods", "backbones"])
def test_list_prints_what_the_registries_hold(kind):
    assert table(kind, "markdown") == generated(kind)
    assert table(kind) != generated(kind)


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets", "suites", "figures"])
def test_a_list_fits_the_terminal_and_keeps_its_rows_in_a_pipe(kind, capsys, monkeypatch):
    assert main(["list", kind]) == 0
    piped = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["list", kind]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 100 < max(map(len, piped))
    names = {line.split("(")[0].split()[0] for line in piped[2:]}
    assert names <= {word for line in shown for word in re.split(r"[ (]", line)}  # none is cut
    signs = [Counter(re.sub(r"[\s-]", "", "".join(lines))) for lines in (piped, shown)]
    assert signs[0] == signs[1]  # nothing is lost


def test_the_audit_matrix_is_that_of_today():
    # what the matrix calls "pass", the contract tests run
    pairs = itertools.product(methods.methods, FAMILIES)
    verdicts = [
        auditing.Verdict(spec, family, "n/a" if reason else "pass", reason=reason or "")
        for spec, family in pairs
        for reason in [methods.build(spec).unsupported(make(family))]
    ]
    assert between("audit") == show.matrix(verdicts, "markdown"), "run .ci/refresh_readme"


def test_the_audit_matrix_fits_a_terminal():
    states = ["pass", "n/a", "n/a"] * 4
    verdicts = [
        auditing.Verdict("dvpt_released", family, state, reason=f"reason {n}" if n % 3 else "")
        for n, (family, state) in enumerate(zip(FAMILIES, states, strict=True))
    ]
    head, rule, row, *notes = show.matrix(verdicts).splitlines()
    assert head.split() == ["method", *FAMILIES]
    assert len(rule) <= 100
    assert row.split()[1:5] == ["pass", "1", "2", "pass"]
    assert notes[:2] == ["A number alone: n/a, for this reason:", "1. reason 1"]


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    text = PAGES[page]
    for name in re.findall(r"`((?:benchmark|methods|results|slurm)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
        assert ((ROOT / page).parent / link).exists(), link


@pytest.fixture
def example(tmp_path, monkeypatch):
    (tmp_path / "my_method.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_method:ScaleMLP"


@pytest.mark.parametrize("family", ["vit", "swin", "convnext"])
def test_the_example_method_passes_the_audit(example, family):
    verdict = auditing.examine(example, family)
    assert verdict.state == "pass", verdict.reasons


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_the_example_that_chooses_by_images_passes_the_audit(family, tmp_path, monkeypatch):
    (tmp_path / "my_choice.py").write_text(CHOOSING)
    monkeypatch.syspath_prepend(tmp_path)
    verdict = auditing.examine("my_choice:ScaleSome", family)
    assert verdict.state == "pass", verdict.reasons


def test_the_example_method_trains(example, tmp_path):
    command = ["run", "--methods", example, "--backbones", "tiny_vit", "--fractions", "0.1"]
    assert main([*command, "--steps", "2", "--runs", str(tmp_path / "runs")]) == 0
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 1
