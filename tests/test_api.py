"""`import benchmark`: what a notebook does, and that it leaves the process as it was."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark.__main__ import main
from benchmark.core.registry import InputError

ROOT = Path(__file__).parents[1]
TINY = {"backbones": "tiny_vit", "steps": 2, "evaluations": 1, "batch_size": 4, "fractions": 0.1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("api") / "runs"


@pytest.fixture(scope="module")
def swept(runs):
    """A sweep of three cells, one of which its method does not support, and its results."""
    sweep = benchmark.Sweep(
        ["linear", "lora(rank=2)", "fact_tk"], backbones="tiny_vit,tiny_swin", runs=runs,
        **{k: v for k, v in TINY.items() if k != "backbones"},
    )  # fmt: skip
    assert len(sweep.plan().todo) == 6
    return sweep, sweep.run()


def test_a_sweep_returns_one_row_per_cell_with_numbers(swept):
    sweep, frame = swept
    assert list(frame["key"]) == [cell.key for cell in sweep.cells]
    assert list(frame.columns[:8]) == (
        ["dataset", "backbone", "method", "fraction", "shots", "split_seed", "seed", "state"]
    )
    assert frame["state"].value_counts().to_dict() == {"done": 5, "n/a": 1}
    done = frame[frame["state"] == "done"]
    assert list(done["test"]) == list(done["test_kappa"])
    assert done["test"].dtype == float
    assert set(done["metric"]) == {"kappa"}
    (reason,) = frame.loc[frame["state"] == "n/a", "reason"]
    assert reason
    assert not sweep.plan().left
    assert sweep.status().exit_code() == 0


def test_the_same_cells_come_from_the_command_line(swept, runs, capsys):
    flags = ["--backbones", "tiny_vit", "--steps", "2", "--evaluations", "1", "--batch-size", "4"]
    command = ["run", "--methods", "linear,lora(rank=2)", "--fractions", "0.1", "--dry-run"]
    assert main([*command, *flags, "--runs", str(runs)]) == 0
    assert "2 cells: 0 to do, 2 done" in capsys.readouterr().out


def test_results_and_report_are_frames_and_write_nothing(swept, runs):
    before = sorted(path for path in runs.rglob("*") if path.name != "index.parquet")
    frame = benchmark.results(runs)
    assert len(frame) == 6
    report = benchmark.report(runs)
    assert "tiny_vit" in report.text
    assert sorted(path for path in runs.rglob("*") if path.name != "index.parquet") == before


def test_a_record_that_cannot_be_read_is_a_row_and_no_success(swept, runs, tmp_path, capsys):
    import shutil

    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    sweep = benchmark.Sweep("linear", runs=copy, **TINY)
    (cell,) = sweep.cells
    (cell.folder(copy) / "record.json").write_text("{")
    frame = sweep.results()
    assert frame.loc[0, "state"] == "unreadable"
    assert "record.json" in frame.loc[0, "reason"]
    flags = ["--backbones", "tiny_vit", "--steps", "2", "--evaluations", "1", "--batch-size", "4"]
    command = ["run", "--methods", "linear,lora(rank=2)", "--fractions", "0.1", *flags]
    assert main([*command, "--runs", str(copy)]) == 1
    assert "unreadable" in capsys.readouterr().err
    with pytest.warns(UserWarning, match=re.escape("record.json")):
        assert len(benchmark.results(copy)) == 5


def test_a_trained_cell_predicts(swept, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "one.png")
    sweep, frame = swept
    trained = benchmark.load(frame["folder"][0])
    table = trained.predict([tmp_path / "one.png"])
    assert isinstance(table, pd.DataFrame)
    assert table.filter(like="prob_").sum(axis=1).tolist() == pytest.approx([1.0])
    assert benchmark.load(frame["key"][0], sweep.runs).record.cell.key == frame["key"][0]


def test_the_audit_of_one_method_is_a_frame():
    frame = benchmark.audit("norm", "vit")
    assert frame.to_dict("records") == [
        {"method": "norm", "family": "vit", "state": "pass", "reason": ""}
    ]


@pytest.mark.parametrize("names", [("norm", "vitt"), ("nrm", "vit")])
def test_an_audit_of_what_does_not_exist_is_no_verdict(names):
    with pytest.raises(InputError, match=r"did you mean '(vit|norm)'"):
        benchmark.audit(*names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": []}, "methods is an empty list"),
        ({"methods": "lorra"}, "did you mean 'lora'"),
        ({"datasets": "busii"}, "did you mean 'busi'"),
        ({"backbones": "vit_s14_imgfocu"}, "did you mean 'vit_s14_imgfocus'"),
        ({"seeds": 0.5}, "seeds 0.5 must be a whole number of 0 or more"),
        ({"seeds": True}, "seeds True"),
        ({"fractions": {"a": 1}}, "fractions"),
        ({"steps": 5, "epochs": 2}, "epochs and steps exclude each other"),
        ({"shots": 5, "fractions": 0.5}, "shots and fractions exclude each other"),
        ({"views": 4, "augment": "none"}, "views"),
        ({"tune_budget": 0}, "tune_budget 0"),
        ({"suite": "smok"}, "did you mean 'smoke'"),
        ({"suite": ""}, "unknown suite ''"),
    ],
)
def test_bad_arguments_are_one_sentence_that_names_them(arguments, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        benchmark.Sweep(runs=tmp_path / "runs", **arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executor": "slum"}, "unknown executor 'slum'"),
        ({"jobs": 2}, "jobs 2 is for the executor 'local'"),
        ({"executor": "local", "jobs": 0}, "jobs 0 must be a whole number above 0"),
        ({"slurm": {"partition": "gpu"}}, "slurm and wait are for executor 'slurm'"),
        ({"wait": True}, "slurm and wait are for executor 'slurm'"),
    ],
)
def test_bad_arguments_of_run_train_nothing(arguments, message, tmp_path):
    sweep = benchmark.Sweep("linear", runs=tmp_path / "runs", **TINY)
    with pytest.raises(InputError, match=re.escape(message)):
        sweep.run(**arguments)
    assert not (tmp_path / "runs").exists()


def test_a_flag_goes_over_the_suite_and_what_it_excludes():
    (grading, _) = benchmark.Sweep(suite="paper", steps=5, datasets="phantom_grading").grids
    assert (grading.steps, grading.epochs) == ((5,), (None,))


def test_an_import_and_a_report_leave_the_process_as_it_was(swept, runs):
    code = """
import os, matplotlib
before = matplotlib.rcParams.copy(), dict(os.environ)
import benchmark
benchmark.report(RUNS)
assert dict(os.environ) == before[1]
assert matplotlib.get_backend(auto_select=False) is None, "a backend was chosen"
changed = [k for k in before[0] if k != "backend" and matplotlib.rcParams[k] != before[0][k]]
assert not changed, changed
"""
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    answer = subprocess.run(
        [sys.executable, "-c", code.replace("RUNS", repr(str(runs)))],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr


def test_a_sweep_runs_in_a_thread_of_a_program(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    sweep = benchmark.Sweep("linear", runs=tmp_path / "runs", **TINY)
    with ThreadPoolExecutor(1) as pool:
        frame = pool.submit(sweep.run).result()
    assert list(frame["state"]) == ["done"]


def test_the_runs_folder_is_not_among_the_images(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (8, 8), "red").save(tmp_path / name / f"{number}.png")
    sweep = benchmark.Sweep("linear", str(tmp_path), runs=tmp_path / "runs", backbones="tiny_vit")
    with pytest.raises(InputError, match="lies inside the data"):
        sweep.plan()


def test_the_notebook_lines_of_the_readme_run(tmp_path, monkeypatch, runs):
    page = (ROOT / "README.md").read_text()
    lines = re.search(r"## From Python\n.*?```python\n(.*?)```", page, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    # the same lines on a backbone and a length that take seconds
    small = ', backbones="tiny_vit", steps=2, evaluations=1, batch_size=4, runs="runs")'
    lines, count = re.subn(r', runs="runs"\)', small, lines)
    assert count == 1
    namespace = {}
    exec(lines, namespace)
    assert len(namespace["frame"]) == 4
