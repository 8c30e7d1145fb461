"""`runs`: what lies where, and what is never deleted."""

import json
import subprocess
import sys

import pytest
from test_guards import put
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.sweep import claims

PRECIOUS = ("record.json", "cell.json", "predictions.npz", "delta.safetensors", "rescored.json")


@pytest.fixture
def runs(tmp_path):
    """A finished and an unfinished cell, each with a checkpoint; caches, reports, logs, index."""
    runs = tmp_path / "runs"
    done = put(runs, 0.5, seed=1).parent
    begun = make_cell(seed=2).folder(runs)
    begun.mkdir(parents=True)
    for name in (*PRECIOUS[1:], "checkpoint.pt", "external/other.json", "peek/01.safetensors"):
        (done / name).parent.mkdir(exist_ok=True)
        (done / name).write_bytes(b"x" * 1000)
    (begun / "cell.json").write_text("{}")
    (begun / "checkpoint.pt").write_bytes(b"x" * 500)
    for name in ("cache/decoded/a.npy", "report/table.md", "sweeps/1/logs/0_log.out", "mine.txt"):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text("abc")
    (runs / "index.parquet").write_text("abcd")
    return runs


def call(runs, capsys, *flags):
    code = main(["runs", "--runs", str(runs), *flags])
    return code, capsys.readouterr()


def names(runs):
    return {path.relative_to(runs).as_posix() for path in runs.rglob("*") if path.is_file()}


def test_the_use_by_kind(runs, capsys):
    code, output = call(runs, capsys)
    rows = {line.split()[0]: line.split()[1:] for line in output.out.splitlines()[2:]}
    assert code == 0
    assert rows["checkpoints"] == ["3", "2.4", "KiB", "yes"]
    assert rows["predictions"] == ["1", "1000", "B"]
    assert rows["deltas"] == ["1", "1000", "B"]
    assert rows["records"][0] == "5"  # record, cell, rescored, external; the other cell
    assert [rows[kind][0] for kind in ("caches", "reports", "logs", "index", "other")] == ["1"] * 5


def test_a_dry_run_deletes_nothing_and_says_the_same(runs, capsys):
    before = names(runs)
    flags = ("--clean", "checkpoints,caches")
    _, dry = call(runs, capsys, *flags, "--dry-run")
    assert names(runs) == before
    _, real = call(runs, capsys, *flags)
    assert dry.out.replace("would be deleted", "deleted") == real.out
    assert "checkpoints: 2 files, 2.0 KiB deleted" in real.out
    assert "checkpoints of 1 cells stay: they are not finished" in real.out
    gone = {name.rpartition("/")[2] for name in before - names(runs)}
    assert gone == {"checkpoint.pt", "01.safetensors", "a.npy"}
    assert (make_cell(seed=2).folder(runs) / "checkpoint.pt").exists()


def test_everything_that_can_be_cleaned_leaves_all_that_counts(runs, capsys):
    before = names(runs)
    call(runs, capsys, "--clean", "checkpoints,caches,reports,index")
    left = names(runs)
    kept = {name for name in before if name.rpartition("/")[2] in (*PRECIOUS, "other.json")}
    assert kept <= left
    assert {"mine.txt", "sweeps/1/logs/0_log.out"} <= left
    assert not any(name.endswith("claim.json") for name in left)


def test_what_a_live_process_trains_stays(runs, capsys):
    folder = make_cell(seed=1).folder(runs)
    claim = claims.take(folder)
    before = names(runs)
    _, output = call(runs, capsys, "--clean", "checkpoints,caches")
    assert names(runs) == before
    assert "caches stay: 1 cells are being trained" in output.out
    assert "they are being trained" in output.out
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], text=True,
                           capture_output=True)  # fmt: skip
    values = json.loads(claim.path.read_text())
    claim.path.write_text(json.dumps({**values, "pid": int(ended.stdout)}))
    call(runs, capsys, "--clean", "checkpoints,caches")  # the owner is dead by now
    assert not (folder / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ("records", "records are never deleted"),
        ("checkpoints,deltas", "deltas are never deleted"),
        ("predictions", "predictions are never deleted"),
        ("chekpoints", "did you mean 'checkpoints'"),
    ],
)
def test_what_is_never_deleted(runs, capsys, kinds, told):
    before = names(runs)
    code, output = call(runs, capsys, "--clean", kinds)
    assert (code, names(runs)) == (2, before)
    assert told in output.err


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "precious").write_text("mine")
    code, output = call(tmp_path, capsys, "--clean", "caches")
    assert code == 2
    assert "holds no cell" in output.err
    assert (tmp_path / "cache" / "precious").exists()


def test_links_are_not_followed(runs, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.npy").write_text("mine")
    (runs / "cache" / "linked").symlink_to(tmp_path / "elsewhere")
    call(runs, capsys, "--clean", "caches")
    assert (tmp_path / "elsewhere" / "mine.npy").exists()


@pytest.mark.parametrize("name", ["report", "cache", "plans", "sweeps", "probes"])
def test_a_data_set_may_be_called_like_a_folder_of_ours(tmp_path, capsys, name):
    record = put(tmp_path, 0.5, dataset=name)
    (record.parent / "cell.json").write_text("{}")
    (record.parent / "delta.safetensors").write_bytes(b"x")
    loose = tmp_path / name / "table.md"
    loose.write_text("abc")
    code, _ = call(tmp_path, capsys, "--clean", "reports,caches")
    assert code == 0
    assert names(record.parent) == {"record.json", "cell.json", "delta.safetensors"}
    assert loose.exists() == (name not in ("report", "cache"))
