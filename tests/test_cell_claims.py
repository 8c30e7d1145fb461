"""Who trains a cell: one process at a time, whatever dies."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweep_helpers import cells, elsewhere, tiny_cells, until

from benchmark.core.registry import InputError
from benchmark.execution import inline as inline_module
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


def in_job(monkeypatch, job, restarts=0, **more):
    """Make this process one of a Slurm job."""
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    for name, value in more.items():
        monkeypatch.setenv(name, value)


def test_a_restarted_job_takes_its_own_claim_back_at_once(tmp_path, monkeypatch):
    elsewhere(tmp_path, 1.0, job="7")
    in_job(monkeypatch, "7", restarts=1)
    assert claims.take(tmp_path) is not None


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_STEP_ID", "SLURM_NODEID"])
def test_another_task_or_step_of_the_same_run_of_a_job_does_not(tmp_path, monkeypatch, name):
    in_job(monkeypatch, "7", SLURM_PROCID="0")
    elsewhere(tmp_path, 1.0, job="7")
    monkeypatch.setenv(name, "1")
    assert claims.take(tmp_path) is None


def test_two_hosts_of_one_allocation_do_not_take_from_each_other(tmp_path, monkeypatch):
    in_job(monkeypatch, "7", SLURM_PROCID="0", SLURM_STEP_ID="0")
    first = claims.take(tmp_path)
    monkeypatch.setattr(claims, "_place", lambda: "the other host")
    assert claims.take(tmp_path) is None
    assert first.beat(1, 2)


RACE = """
import os, sys, time; from pathlib import Path; from benchmark.sweep import claims
stamp = claims._stamp
claims._stamp = lambda path: (time.sleep(os.urandom(1)[0] / 60_000), stamp(path))[1]  # a busy disk
for line in sys.stdin:
    folder, end = Path(line.strip()), time.monotonic() + 0.03
    claim = None
    while claim is None and time.monotonic() < end:
        claim = claims.take(folder)
    print(claim is not None, flush=True)
"""


@pytest.mark.parametrize("waiting", [2, 4])
def test_one_of_those_that_wait_takes_the_claim_of_a_dead_process(tmp_path, waiting):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(waiting)
    ]
    takers = []
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        elsewhere(folder, claims.STALE_S + 1)
        for process in started:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
        takers.append(sum(process.stdout.readline() == "True\n" for process in started))
    for process in started:
        process.communicate(timeout=60)
    assert takers == [1] * 40
    assert [path.name for path in tmp_path.glob("*/*")] == [claims.CLAIM] * 40


def test_an_heir_that_died_before_it_took_over_has_an_heir(tmp_path):
    code = "import os, sys; from pathlib import Path; from benchmark.sweep import claims\n"
    code += "Path.replace = lambda *_: os._exit(9)\n"
    code += "claims.take(Path(sys.argv[1]))"
    elsewhere(tmp_path, claims.STALE_S + 1)
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert claims.read(tmp_path).place == "another host"
    assert claims.take(tmp_path) is not None


def test_who_is_slow_to_judge_leaves_the_claim_of_somebody_faster(tmp_path):
    elsewhere(tmp_path, claims.STALE_S + 1)
    judged = claims.read(tmp_path)
    fast = claims.take(tmp_path)
    with claims._heir(claims.Claim(tmp_path), judged) as own:
        assert own is None
    claims.drop(tmp_path, judged)
    assert claims.read(tmp_path).token == fast.token
    assert [path.name for path in tmp_path.iterdir()] == [claims.CLAIM]


def test_a_claim_that_its_owner_renewed_after_it_was_judged_stays(tmp_path):
    owner = elsewhere(tmp_path, claims.STALE_S + 1)
    judged = claims.read(tmp_path)
    owner.renew()
    claims.drop(tmp_path, judged)
    assert claims.read(tmp_path).token == owner.token


UNREADABLE = {
    "empty": b"",
    "cut off": b'{"pla',
    "latin-1": b'{"place": "\xe9"}',
    "a list": b"[]",
    "deep": b"[" * 5000,
    "no token": b"{}",
    "a pid of the wrong type": b'{"place": "h", "pid": "x", "job": "", "token": "t"}',
    "a pid that no system has": b'{"place": "h", "pid": 1%s, "job": "", "token": "t"}'
    % (30 * b"0"),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_claim_ages_by_the_time_of_its_file(tmp_path, text):
    (tmp_path / claims.CLAIM).write_bytes(text)
    assert claims.take(tmp_path) is None  # it may be one that is just being written
    assert "unreadable" in claims.read(tmp_path).describe()
    os.utime(tmp_path / claims.CLAIM, (time.time() - claims.STALE_S - 1,) * 2)
    with claims.claimed(tmp_path) as claim:
        assert claim is not None
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_claim_ages_as_well(tmp_path):
    (tmp_path / claims.CLAIM).mkdir()
    assert claims.take(tmp_path) is None
    os.utime(tmp_path / claims.CLAIM, (1, 1))
    assert claims.take(tmp_path) is not None


def test_a_claim_from_the_future_is_no_better_than_an_old_one(tmp_path):
    elsewhere(tmp_path, -24 * 3600)  # the clock was wrong, and the host is gone
    assert claims.take(tmp_path) is not None


def test_the_claim_of_a_clock_that_is_a_minute_ahead_is_obeyed(tmp_path):
    elsewhere(tmp_path, -60)
    assert claims.take(tmp_path) is None


def test_a_damaged_claim_is_mended_by_its_owner(tmp_path):
    claim = claims.take(tmp_path)
    claim.path.write_text("")
    claim.renew()
    assert claims.read(tmp_path).token == claim.token
    assert not claim.lost


def test_a_beating_heart_does_not_hide_that_no_step_ends(tmp_path):
    claim = claims.take(tmp_path)
    claim.beat(5, 100)
    claim.progressed -= 900  # a hang of a quarter of an hour, in which the thread renews the claim
    claim.renew()
    owner = claims.read(tmp_path)
    assert owner.is_alive()
    assert owner.describe() == f"step 5 of 100 on {owner.host}, last step 15 min ago"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_where_no_claim_can_be_written_one_sentence_says_why(tmp_path, monkeypatch, error):
    def refuse(self, *_):
        self.touch()
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(InputError, match=os.strerror(error)):
        claims.take(tmp_path)
    assert not list(tmp_path.iterdir())  # nor the empty file that a full disk leaves


def test_a_claim_beats_by_itself_and_tells_when_it_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    with claims.claimed(tmp_path) as claim:
        os.utime(claim.path, (1, 1))  # a long evaluation: no step is told
        until(lambda: claim.path.stat().st_mtime > 1)
        assert claim.beat(1, 2)
        told = json.loads(claim.path.read_text())
        with claim._lock:  # not between a look of the thread at the file and its writing
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


def test_who_waits_for_a_cell_says_for_whom_and_once(tmp_path, monkeypatch, capsys):
    (cell,) = cells(1)
    folder = cell.folder(tmp_path)
    folder.mkdir(parents=True)
    elsewhere(folder, 5.0)
    states = iter(["taken", "taken", "taken", "done"])
    monkeypatch.setattr(inline_module, "POLL_S", 0.01)
    monkeypatch.setattr(inline_module, "train", lambda cell, *_: one.Outcome(cell, next(states)))
    assert [outcome.state for outcome in inline([cell], SimpleNamespace(planned=[]), tmp_path)] == [
        "done"
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"waiting for 1 cells that others train, such as {cell.slug}: step 0")
    assert "on another, began 5 s ago" in line
