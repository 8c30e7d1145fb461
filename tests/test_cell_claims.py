"""Who trains a cell: one process at a time, whatever dies."""

import json
import os
import subprocess
import sys
import time

from sweep_helpers import elsewhere, tiny_cells, until

from benchmark.execution import one
from benchmark.execution.inline import inline
from benchmark.sweep import claims


def test_one_of_many_processes_gets_the_claim(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from benchmark.sweep.claims import take;"
        "got = take(Path(sys.argv[1])); print(got is not None); sys.stdout.flush(); time.sleep(3)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    answers = [process.communicate(timeout=60)[0].strip() for process in started]
    assert sorted(answers) == ["False"] * 5 + ["True"]


def test_the_claim_of_a_dead_process_is_taken_over_and_of_a_live_one_not(tmp_path):
    code = "import sys; from pathlib import Path; from benchmark.sweep.claims import take; "
    code += "take(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert (tmp_path / claims.CLAIM).exists()  # it died without giving it back
    with claims.claimed(tmp_path) as first:
        assert first is not None
        assert claims.take(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_claim_of_another_host_lasts_while_it_is_touched(tmp_path):
    elsewhere(tmp_path, claims.STALE_S - 60)
    assert claims.take(tmp_path) is None
    os.utime(tmp_path / claims.CLAIM, (time.time() - claims.STALE_S - 1,) * 2)
    assert claims.take(tmp_path) is not None


def test_a_restarted_job_takes_its_own_claim_back_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    elsewhere(tmp_path, 1.0, job="7.0")
    assert claims.take(tmp_path) is not None


def test_another_task_of_the_same_job_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    elsewhere(tmp_path, 1.0, job="7.0")
    assert claims.take(tmp_path) is None


def test_a_claim_taken_over_by_somebody_faster_is_given_back(tmp_path):
    fast = claims.take(tmp_path)
    assert not claims._remove(tmp_path, "the token that was judged stale")
    assert json.loads((tmp_path / claims.CLAIM).read_text())["token"] == fast.token


def test_a_claim_beats_by_itself_and_tells_when_it_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    with claims.claimed(tmp_path) as claim:
        os.utime(claim.path, (1, 1))  # a long evaluation: no step is told
        until(lambda: claim.path.stat().st_mtime > 1)
        assert claim.beat(1, 2)
        told = json.loads(claim.path.read_text())
        claim.path.write_text(json.dumps({**told, "token": "another"}))
        until(lambda: not claim.beat(2, 2))
    assert json.loads(claim.path.read_text())["token"] == "another"


def test_the_clock_of_the_file_system_judges_the_age_of_a_claim(tmp_path, monkeypatch):
    elsewhere(tmp_path, 1.0)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this host's clock is wrong
    assert claims.take(tmp_path) is None


def test_a_process_number_that_lives_on_as_another_process_keeps_no_claim(tmp_path):
    claim = claims.Claim(tmp_path, pid=1)
    assert claims._create(claim)
    os.utime(claim.path, (time.time() - claims.STALE_S - 1,) * 2)
    assert claims.take(tmp_path) is not None


def test_a_cell_that_somebody_trains_is_waited_for_or_left(tmp_path):
    (cell,), session = tiny_cells(tmp_path, "bitfit")
    folder = cell.folder(tmp_path)
    folder.mkdir(parents=True)
    elsewhere(folder, 1.0)
    assert list(inline([cell], session, tmp_path, waits=lambda folder: False)) == []
    assert not (folder / "record.json").exists()


def test_a_cell_that_was_taken_over_is_left_to_the_other(tmp_path, monkeypatch):
    (cell,), session = tiny_cells(tmp_path, "bitfit")
    monkeypatch.setattr(claims.Claim, "beat", lambda self, step, steps: step < 2)
    assert one.train(cell, session, tmp_path).state == "taken"
    assert not (cell.folder(tmp_path) / "error.txt").exists()
    assert not (cell.folder(tmp_path) / "record.json").exists()
