"""What `status` and `cancel` say and do about a sweep on Slurm; the queue is a fake."""

import json
import re

from sweep_helpers import QUEUE, fake, plan_of

from benchmark.__main__ import main
from benchmark.sweep import claims
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
    slugs = [f"d/{index}" for index in range(1000)]
    plan_of(tmp_path, "S", [[slugs[:500], slugs[500:]]])
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text(json.dumps({"slugs": slugs}))
    assert main(["status", "--runs", str(tmp_path)]) == 3
    assert len(calls.read_text().splitlines()) == 1
    told = capsys.readouterr().out
    assert "0 done, 1000 queued, 0 to do, 0 failed, 0 unsupported" in told
    assert "queued: d/500 and 499 more: job 12_1 pending (Priority)" in told


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
    plan_of(tmp_path, "S", [[["a"]]])
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text(json.dumps({"slugs": ["a"]}))
    assert main(["status", "--runs", str(tmp_path)]) == 3
    told = capsys.readouterr().out
    assert "1 to do" in told
    assert "squeue refused: Unable to contact" in told


def test_a_sweep_without_a_log_points_at_the_file_system(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "")
    plan_of(tmp_path, "S", [[["a"]]])
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text(json.dumps({"slugs": ["a"]}))
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
    plan_of(tmp_path, "S", [[["a"], ["b", "c"]]])
    sweep = tmp_path / "sweeps" / "S"
    (sweep / "jobs.json").write_text('{"ids": ["7"]}')
    (sweep / "logs" / "7_1_0_log.err").write_text(
        "start of run 0\nslurmstepd: error: *** STEP 7.0 CANCELLED AT 9 ***\n"
    )
    (sweep / "note-limit.txt").write_text("timed-out too many times\n")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text(json.dumps({"slugs": ["a", "b", "c"]}))
    assert main(["status", "--runs", str(tmp_path)]) == 3
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("0 done, 3 to do")
    assert told[1].startswith("to do: b and 1 more: CANCELLED")
    assert told[2] == "timed-out too many times"
