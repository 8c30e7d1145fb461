"""The sealed copy of code and plan that the jobs of a sweep run."""

import json
import os
import subprocess
import sys

import pytest

from slurm import snapshot


def sealed(tmp_path, monkeypatch):
    """Return a sealed snapshot with a module of the user, and what its first lines tell a shell."""
    (tmp_path / "mine.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    sweep = tmp_path / "it's a sweep"
    code = snapshot.take(sweep, ["mine:Method(rank=2)", "lora(rank=2)"])
    (sweep / "plan.json").write_text("{}")
    snapshot.seal(sweep)
    script = "\n".join([*snapshot.setup(code), "echo trained; pwd"])
    return code, lambda: subprocess.run(["bash", "-c", script], capture_output=True, text=True)


def test_a_snapshot_holds_the_code_and_the_users_module_and_no_record(tmp_path, monkeypatch):
    code, told = sealed(tmp_path, monkeypatch)
    assert (code / "benchmark" / "__main__.py").exists()
    assert (code / "mine.py").read_text() == "x = 1"
    assert not list(tmp_path.rglob("record.json"))
    assert told().stdout.splitlines() == ["trained", str(code)]
    read = "from benchmark.training.provenance import checkout; print(checkout())"
    answer = subprocess.run(
        [sys.executable, "-c", read], capture_output=True, text=True, cwd=code,
        env=os.environ | {"PYTHONPATH": str(code), "PATH": ""},
    )  # fmt: skip
    assert answer.stdout.strip() == str(json.loads((code / "snapshot.json").read_text()))


@pytest.mark.parametrize("fault", ["edited", "missing", "plan"])
def test_a_stale_snapshot_trains_nothing_and_says_why(tmp_path, monkeypatch, fault):
    code, told = sealed(tmp_path, monkeypatch)
    if fault == "edited":
        (code / "methods" / "lora.py").write_text("# changed")
    elif fault == "missing":
        (code / "mine.py").unlink()
    else:
        (code.parent / "plan.json").write_text('{"chunks": []}')
    answer = told()
    assert answer.returncode == 3
    assert "trained" not in answer.stdout.splitlines()
    note = (code.parent / "note-stale.txt").read_text()
    assert "missing or was edited since it was submitted; nothing was trained" in note
    assert note in answer.stderr


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path, monkeypatch):
    code, told = sealed(tmp_path, monkeypatch)
    code.parent.rename(tmp_path / "elsewhere")
    answer = told()
    assert answer.returncode == 3
    assert "this node does not see" in answer.stderr
