"""What `status` and `cancel` say and do about a sweep on Slurm; the queue is a fake."""

import json
import os
import re

import pytest
from sweep_helpers import QUEUE, fake, plan_of

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from benchmark.sweep import claims
from benchmark.sweep.ends import End, add_end
from slurm import queue


def test_the_queue_is_read_from_one_call(tmp_path, monkeypatch):
    calls = fake(monkeypatch, tmp_path, "squeue", QUEUE)
    plan_of(tmp_path, "S", [[["a/x", "a/y"], ["b/z"]]])
    found = queue.queued(tmp_path, queue.waiting())
    assert {slug: job.job for slug, job in found.items()} == {
        "a/x": "12_0", "a/y": "12_0", "b/z": "12_1",
    }  # fmt: skip
    assert len(calls.read_text().splitlines()) == 1


def test_status_of_1000_cells_asks_slurm_once(tmp_path, monkeypatch, capsys):
    calls = fake(monkeypatch, tmp_path, "squeue", QUEUE)
    slugs = [f"d/b/m/{index}" for index in range(1000)]
    plan_of(tmp_path, "S", [[slugs[:500], slugs[500:]]])
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text(json.dumps({"slugs": slugs}))
    assert main(["status", "--runs", str(tmp_path)]) == 3
    assert len(calls.read_text().splitlines()) == 1
    told = capsys.readouterr().out
    assert "0 done, 1000 queued, 0 to do, 0 failed, 0 unsupported" in told
    assert "queued: d/b/m/500 and 499 more: pending (Priority) (job 12_1)" in told


def test_cancel_ends_our_jobs_only_with_one_call(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", QUEUE)
    calls = fake(monkeypatch, tmp_path, "scancel", "")
    plan_of(tmp_path, "S", [[["a"], ["b"]]])
    assert main(["cancel", "--runs", str(tmp_path)]) == 0
    assert calls.read_text().split() == ["12"]  # the array, not its 1000 tasks
    assert re.match("2 jobs cancelled", capsys.readouterr().out)


def test_a_slurm_that_does_not_answer_is_told_beside_what_the_disk_says(
    tmp_path, monkeypatch, capsys
):
    fake(monkeypatch, tmp_path, "squeue", "")
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\necho 'Unable to contact' >&2; exit 1\n")
    plan_of(tmp_path, "S", [[["d/b/m/a"]]])
    planned(tmp_path, "d/b/m/a")
    assert main(["status", "--runs", str(tmp_path)]) == 3
    told = capsys.readouterr().out
    assert "1 to do" in told
    assert "squeue refused: Unable to contact" in told


def test_a_sweep_without_a_log_points_at_the_file_system(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "")
    plan_of(tmp_path, "S", [[["d/b/m/a"]]])
    planned(tmp_path, "d/b/m/a")
    main(["status", "--runs", str(tmp_path)])
    assert "sweep S left no log: do its nodes see" in capsys.readouterr().out


def test_failures_are_grouped_by_reason_and_their_logs_end_with_the_error(tmp_path, capsys):
    for number, reason in enumerate(["no space left", "no space left", "loss became nan"]):
        folder = tmp_path / f"d/{number}"
        folder.mkdir(parents=True)
        (folder / "cell.json").write_text("{}")
        (folder / "error.txt").write_text(f"{reason}\n\nTraceback\n  line\nError: {reason}\n")
    assert main(["status", "--runs", str(tmp_path), "--tail", "1"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "failed: d/0 and 1 more: no space left"
    assert told[2] == "failed: d/2: loss became nan"
    assert told[3:5] == ["--- d/0", "Error: no space left"]


def test_running_cells_show_their_steps(tmp_path, capsys):
    folder = tmp_path / "d" / "cell"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text("{}")
    with claims.claimed(folder) as claim:
        claim.beat(30, 100)
        assert main(["status", "--runs", str(tmp_path)]) == 3
    assert "running: d/cell: step 30 of 100" in capsys.readouterr().out


def test_jobs_without_what_they_are_to_run_are_orphans(tmp_path, monkeypatch):
    fake(monkeypatch, tmp_path, "squeue", QUEUE)
    plan_of(tmp_path, "S", [[["a/x"], ["b/z"]]])
    (tmp_path / "sweeps" / "S" / "logs" / "12_0_submitted.pkl").touch()
    assert queue.orphans(tmp_path, queue.waiting()) == ["12_1"]


def test_status_tells_how_jobs_ended_and_what_they_noted(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "")
    plan_of(tmp_path, "S", [[["d/b/m/a"], ["d/b/m/b", "d/b/m/c"]]])
    sweep = tmp_path / "sweeps" / "S"
    (sweep / "jobs.json").write_text('{"ids": ["7"]}')
    (sweep / "logs" / "7_1_0_log.err").write_text(
        "start of run 0\nslurmstepd: error: *** STEP 7.0 CANCELLED AT 9 ***\n"
    )
    (sweep / "note-limit.txt").write_text("timed-out too many times\n")
    planned(tmp_path, "d/b/m/a", "d/b/m/b", "d/b/m/c")
    assert main(["status", "--runs", str(tmp_path)]) == 3
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("0 done, 3 to do")
    assert told[1].startswith("to do: d/b/m/b and 1 more: CANCELLED")
    assert told[2] == "timed-out too many times"


def planned(runs, *slugs):
    (runs / "plans").mkdir(exist_ok=True)
    (runs / "plans" / "p.json").write_text(json.dumps({"slugs": list(slugs)}))


def submitted(runs, chunks, logs):
    """Write a sweep whose jobs 7_0, 7_1, ... have left these error logs."""
    plan_of(runs, "S", [chunks])
    sweep = runs / "sweeps" / "S"
    (sweep / "jobs.json").write_text('{"ids": ["7"]}')
    for number, text in enumerate(logs):
        (sweep / "logs" / f"7_{number}_0_log.err").write_text(f"start of run 0.0 on n1\n{text}\n")
    planned(runs, *(slug for slugs in chunks for slug in slugs))


TIME_LIMIT = "slurmstepd: error: *** JOB {} ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***"


def status_of(runs, capsys, *more):
    code = main(["status", "--runs", str(runs), *more])
    return code, capsys.readouterr().out.splitlines()


NO_PYTHON = "/spool-n{0}/job0000{0}/slurm_script: line 47: /venv/python: No such file or directory"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (TIME_LIMIT, "TIMEOUT: ended by the time limit"),
        (NO_PYTHON, "/venv/python: No such file or directory"),
    ],
)
def test_equal_ends_of_many_jobs_are_one_line_with_one_log(
    tmp_path, monkeypatch, capsys, log, reason
):
    fake(monkeypatch, tmp_path, "squeue", "")
    slugs = [f"d/b/m/{n}" for n in range(60)]
    submitted(tmp_path, [[slug] for slug in slugs], [log.format(n) for n in range(60)])
    code, told = status_of(tmp_path, capsys)
    assert code == 3
    assert len([line for line in told if line.startswith("to do")]) == 1
    assert f"d/b/m/0 and 59 more: {reason}" in told[1]
    assert told[1].endswith("(job 7_0, sweeps/S/logs/7_0_0_log.err)")


def test_the_cell_that_was_in_training_is_named_and_not_its_job_mates(
    tmp_path, monkeypatch, capsys
):
    fake(monkeypatch, tmp_path, "squeue", "")
    names = ["d/b/m/first", "d/b/m/guilty", "d/b/m/behind"]
    submitted(tmp_path, [names, ["d/b/m/other"]], [TIME_LIMIT.format(5)])
    (tmp_path / "d/b/m/guilty").mkdir(parents=True)
    add_end(tmp_path / "d/b/m/guilty", End("oom", "OUT_OF_MEMORY: killed for memory"))
    _, told = status_of(tmp_path, capsys)
    assert any(t.startswith("to do: d/b/m/guilty: died, OUT_OF_MEMORY") for t in told)
    behind = "not begun: its job ended with d/b/m/guilty: TIMEOUT"
    (line,) = [t for t in told if behind in t]
    assert "d/b/m/behind and 1 more" in line


def test_logs_of_a_cell_are_one_command(tmp_path, capsys):
    submitted(tmp_path, [["d/b/m/x"], ["d/b/m/y"]], ["one", "two"])
    (tmp_path / "sweeps/S/logs/7_1_0_log.out").write_text("output")
    code, told = status_of(tmp_path, capsys, "--logs", f"{tmp_path}/d/b/m/y/")
    assert code == 0
    assert [line for line in told if line[:3] != "---"] == [
        "start of run 0.0 on n1",
        "two",
        "output",
    ]
    assert main(["status", "--runs", str(tmp_path), "--logs", "d/z"]) == 2
    assert "no log of 'd/z'" in capsys.readouterr().err


def test_a_job_that_can_never_start_is_told(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "bench-S-0|7|0|PENDING|PartitionTimeLimit")
    submitted(tmp_path, [["d/b/m/x"]], [])
    _, told = status_of(tmp_path, capsys)
    assert "queued: d/b/m/x: pending (PartitionTimeLimit); it will not start" in told[1]


@pytest.mark.parametrize("reason", ["launch_failed_requeued_held", "JobHeldUser"])
def test_a_job_that_slurm_holds_is_told_with_the_command_that_frees_it(
    tmp_path, monkeypatch, capsys, reason
):
    # seen where a controller forgot that a job ran, and could not launch it a second time
    fake(monkeypatch, tmp_path, "squeue", f"bench-S-0|7|0|PENDING|{reason}")
    submitted(tmp_path, [["d/b/m/x"]], [])
    _, told = status_of(tmp_path, capsys)
    assert f"pending ({reason}); Slurm holds it until you call: scontrol release 7_0" in told[1]


def test_wait_tells_once_of_a_job_that_waiting_does_not_start(tmp_path, monkeypatch, capsys):
    jobs = [queue.Waiting("S", 0, 0, "7_0", "7", "PENDING", "launch failed requeued held")]
    answers = iter([jobs, jobs, []])
    monkeypatch.setattr(queue, "waiting", lambda: next(answers))
    monkeypatch.setattr(queue, "POLL_S", 0.01)
    submitted(tmp_path, [["d/b/m/x"]], [])
    queue.await_end(tmp_path)
    assert capsys.readouterr().err.count("scontrol release 7_0") == 1


def failing_once(monkeypatch, tmp_path, answer):
    """Put a squeue on the path that fails at its first call."""
    calls = fake(monkeypatch, tmp_path, "squeue", answer)
    path = tmp_path / "bin" / "squeue"
    first = f'[ "$(wc -l <{calls})" -gt 1 ] || {{ echo "Unable to contact" >&2; exit 1; }}'
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], first, *lines[2:]]) + "\n")
    return calls


def test_one_failed_squeue_ends_neither_wait_nor_watch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(queue, "POLL_S", 0.01)
    calls = failing_once(monkeypatch, tmp_path, "")
    submitted(tmp_path, [["d/b/m/x"]], [])
    queue.await_end(tmp_path)
    assert len(calls.read_text().splitlines()) == 2
    told = capsys.readouterr().err
    assert "squeue refused: Unable to contact; asking again until it answers" in told
    assert "Slurm answers again" in told
    calls.unlink()
    code, told = status_of(tmp_path, capsys, "--watch", "0.01")
    assert code == 3
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["pipe", "deep"])
def test_a_damaged_plan_of_a_sweep_hides_no_other(tmp_path, kind):
    for name in ("a", "b"):
        plan_of(tmp_path, name, [[["d/a"]]])
    plan = tmp_path / "sweeps" / "a" / "plan.json"
    plan.write_text("[" * 5000)
    if kind == "pipe":
        plan.unlink()
        os.mkfifo(plan)
    assert [sweep.name for sweep in queue.sweeps(tmp_path)] == ["b"]


def test_jobs_of_a_deleted_sweep_are_orphans_and_can_be_cancelled(tmp_path, monkeypatch, capsys):
    name = f"20260101-000000-{queue.mark(tmp_path)}-abc"
    fake(monkeypatch, tmp_path, "squeue", f"bench-{name}-0|7|0|PENDING|None\nbench-x-0|8|0|R|None")
    calls = fake(monkeypatch, tmp_path, "scancel", "")
    assert queue.orphans(tmp_path, queue.waiting()) == ["7_0"]
    assert main(["cancel", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("1 jobs")
    assert calls.read_text().split() == ["7"]


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("3600|billing=8,cpu=8,gres/gpu=2,mem=9G\n1800|cpu=1,gres/gpu=1\n", (2.5, True)),
        ("7200|cpu=4,mem=1G\n", (8.0, False)),
        ("", None),
        ("unlimited|\n", None),
    ],
)
def test_hours_are_summed_over_jobs_and_restarts(text, hours):
    assert queue.sum_of_hours(text) == hours


def test_used_hours_are_those_of_the_sweeps(tmp_path, monkeypatch, capsys):
    calls = fake(monkeypatch, tmp_path, "sacct", "5400|cpu=4,gres/gpu=1")
    fake(monkeypatch, tmp_path, "squeue", "")
    submitted(tmp_path, [["d/b/m/x"]], [])
    assert "used: 1.50 GPU-hours" in status_of(tmp_path, capsys)[1]
    assert calls.read_text().rstrip().endswith("--jobs 7")


def test_cells_are_chosen_by_how_they_ended(tmp_path):
    submitted(tmp_path, [["a"], ["b"], ["c"], ["d"]], ["", TIME_LIMIT.format(1), "", "x"])
    for name, kind in (("a", "oom"), ("c", "crash")):
        (tmp_path / name).mkdir()
        add_end(tmp_path / name, End(kind))
    states = {"a": "failed", "b": "todo", "c": "failed", "d": "todo"}
    assert queue.matching(tmp_path, states, "failed") == {"a", "c"}
    assert queue.matching(tmp_path, states, "oom") == {"a"}
    assert queue.matching(tmp_path, states, "timeout") == {"b"}
    with pytest.raises(InputError, match="did you mean 'oom'"):
        queue.matching(tmp_path, states, "ooom")
