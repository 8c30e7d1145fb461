"""Jobs that die: what is counted, what is tried again, and what is given up; without a Slurm."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_helpers import cells, known, plan_of

from benchmark.sweep import claims
from benchmark.sweep.ends import LIVES, End, add_end, deaths, read_ends
from slurm import packing
from slurm.logs import ending, last_run
from slurm.recovery import (
    AGAIN,
    END,
    LOST,
    OOM_CODE,
    REQUEUE,
    STOPPED,
    Job,
    decide,
    signal_name,
)
from slurm.resources import parse
from slurm.snapshot import NAMED

JOB = Job("7", "5_2", restarts=0, tries=0, since=time.time(), memory_mb=2048, limit_min=60)
SEGV = "srun: error: n2: task 0: Segmentation fault\n"


@pytest.fixture
def sweep(tmp_path):
    """Return a sweep of one job with three cells, none begun."""
    plan_of(tmp_path, "S", [[["d/a", "d/b", "d/c"]]])
    return tmp_path / "sweeps" / "S"


SLUGS = ["d/a", "d/b", "d/c"]


def folder(sweep, slug):
    path = sweep.parents[1] / slug
    path.mkdir(parents=True, exist_ok=True)
    return path


def dies_in(sweep, slug, code=139, log=SEGV, job=JOB, quiet_s=0.0):
    """Return what is decided after a task of the job died in a cell."""
    claim = claims.Claim(folder(sweep, slug), place="n2 boot", pid=1, job=job.id, step=5)
    claim.progressed -= quiet_s
    assert claims._create(claim)
    return decide(job, code, sweep, SLUGS, log, 10)


def test_a_death_is_counted_in_its_cell_and_the_others_go_on_at_once(sweep):
    assert dies_in(sweep, "d/b") == AGAIN
    (end,) = read_ends(folder(sweep, "d/b"))
    assert end.kind == "crash"
    assert end.reason == "Segmentation fault (SIGSEGV) Segmentation fault"
    assert (end.job, end.host, end.step, end.memory_mb, end.limit_min) == ("7", "n2", 5, 2048, 60)
    assert not read_ends(folder(sweep, "d/a"))
    assert not (folder(sweep, "d/b") / claims.CLAIM).exists()  # nobody waits until it is old


def test_the_second_death_in_one_place_tries_another_place(sweep):
    assert dies_in(sweep, "d/b") == AGAIN
    assert dies_in(sweep, "d/b") == REQUEUE
    elsewhere = dataclasses.replace(JOB, restarts=1)
    assert dies_in(sweep, "d/c", job=elsewhere) == AGAIN


@pytest.mark.parametrize("code", [134, 135, 137, 139])
def test_the_third_death_is_an_error_and_the_job_mates_run(sweep, code):
    for _ in range(LIVES):
        assert not (folder(sweep, "d/b") / "error.txt").exists()
        decided = dies_in(sweep, "d/b", code)
    assert decided == REQUEUE  # for d/a and d/c
    text = (folder(sweep, "d/b") / "error.txt").read_text()
    assert text.startswith(f"its process died 3 times: {signal_name(code)}")
    assert "sweeps/S/logs/5_2_0_log.err" in text
    assert text.count("job 7 on n2, step 5") == 3


def test_the_job_ends_when_only_the_given_up_cell_is_left(sweep):
    for slug in ("d/a", "d/c"):
        (folder(sweep, slug) / "record.json").touch()
    assert [dies_in(sweep, "d/b") for _ in range(LIVES)] == [AGAIN, REQUEUE, END]


def test_deaths_of_an_earlier_submission_do_not_count_against_this_one(sweep):
    for _ in range(LIVES):
        add_end(folder(sweep, "d/b"), End("crash", job="3"))
    dies_in(sweep, "d/b")
    assert not (folder(sweep, "d/b") / "error.txt").exists()
    assert deaths(read_ends(folder(sweep, "d/b"))) == LIVES + 1


def test_claims_of_other_jobs_are_left_alone(sweep):
    other = claims.Claim(folder(sweep, "d/a"), place="n1 boot", pid=1, job="8")
    assert claims._create(other)
    dies_in(sweep, "d/b")
    assert claims.read(folder(sweep, "d/a")).token == other.token
    assert not read_ends(folder(sweep, "d/a"))


@pytest.mark.parametrize("code", [STOPPED, 128 + 12])
def test_a_signal_with_or_without_a_handler_sends_the_job_back(sweep, code):
    assert decide(JOB, code, sweep, SLUGS, "", 10) == REQUEUE
    assert not any(read_ends(folder(sweep, slug)) for slug in SLUGS)


def test_a_job_that_has_no_more_time_goes_back_instead_of_starting_again(sweep):
    late = dataclasses.replace(JOB, since=time.time() - 59 * 60)
    assert dies_in(sweep, "d/b", job=late) == REQUEUE


def test_a_job_that_dies_before_its_first_cell_is_tried_three_times(sweep):
    tries = [
        decide(dataclasses.replace(JOB, tries=n), 139, sweep, SLUGS, SEGV, 10) for n in range(4)
    ]
    assert tries == [AGAIN] * 3 + [END]


def test_a_step_that_slurm_lost_is_tried_in_a_new_allocation(sweep):
    assert decide(JOB, LOST, sweep, SLUGS, "", 10) == REQUEUE  # before the first cell
    log = "srun: error: Aborting, io error and missing step on node 0\n"
    assert dies_in(sweep, "d/b", LOST, log) == REQUEUE
    (end,) = read_ends(folder(sweep, "d/b"))
    assert end.reason == "Slurm lost its step: Aborting, io error and missing step on node 0"
    often = dataclasses.replace(JOB, restarts=LIVES)
    assert decide(often, LOST, sweep, SLUGS, "", 10) == END


def test_an_error_that_was_told_is_not_tried_again(sweep):
    assert decide(JOB, 1, sweep, SLUGS, "InputError: n1: 1 GPUs were asked for\n", 10) == END


def test_nothing_is_left_to_do(sweep):
    for slug in SLUGS:
        (folder(sweep, slug) / "record.json").touch()
    assert decide(JOB, 137, sweep, SLUGS, "", 10) == END


OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.\n"


@pytest.mark.parametrize(
    ("code", "log", "quiet_s", "kind"),
    [
        (137, OOM, 0, "oom"),
        (137, "slurmstepd: error: Job 7 exceeded memory limit (9 > 2), being killed\n", 0, "oom"),
        (OOM_CODE, "", 0, "oom"),
        (137, "srun: error: n1: task 0: Killed\n", 0, "crash"),
        (1, "Timeout (1:00:00)!\nThread 0x7f (most recent call first):\n", 3600, "hang"),
        (137, "no answer to the signal of the time limit\n", 3000, "hang"),
        (137, "no answer to the signal of the time limit\n", 60, "timeout"),
    ],
)
def test_the_kind_of_an_end(sweep, code, log, quiet_s, kind):
    dies_in(sweep, "d/a", code, log, quiet_s=quiet_s)
    (end,) = read_ends(folder(sweep, "d/a"))
    assert end.kind == kind


def test_a_cell_that_the_time_limit_stops_too_often_is_left_to_the_user(sweep):
    for number in range(11):
        assert decide(JOB, STOPPED, sweep, SLUGS, "", 10) == REQUEUE, number
        add_end(folder(sweep, "d/a"), End("timeout", job="7"))
    assert decide(JOB, STOPPED, sweep, SLUGS, "", 10) == END
    note = (sweep / "note-limit.txt").read_text()
    assert "timed-out too many times: the time limit has stopped d/a 11 times" in note


@pytest.mark.parametrize("text", ["", "{half", "[]", '{"ends": [5]}', '{"ends": [{"kind": 5}]}'])
def test_an_unreadable_count_is_none(tmp_path, text):
    (tmp_path / "deaths.json").write_text(text)
    assert read_ends(tmp_path) == []
    assert len(add_end(tmp_path, End("crash"))) == 1


# What follows for the next submission.
def test_cells_with_deaths_come_last_and_alone():
    asked = cells(5)
    history = {asked[0]: [End("crash")], asked[3]: [End("hang")]}
    groups = packing.groups(asked, parse("timeout_min=30"), "4", known(1.0), history)
    assert [[[c.seed for c in batch] for batch in group.batches] for group in groups] == [
        [[1, 2, 4]], [[0], [3]],
    ]  # fmt: skip


def test_what_died_of_memory_or_time_asks_for_more():
    starved, slow, fine = asked = cells(3)
    history = {
        starved: [End("oom", memory_mb=2048), End("oom", memory_mb=4096)],
        slow: [End("timeout", limit_min=45)],
    }
    resources = parse("mem_gb=3,timeout_min=40")

    def sizes(retry):
        groups = packing.groups(asked, resources, "1", known(1.0), history, retry)
        return {
            cell: (group.resources.mem_gb, group.resources.timeout_min)
            for group in groups
            for (cell,) in group.batches
        }

    assert sizes(packing.Retry()) == {starved: (8, 40), slow: (3, 90), fine: (3, 40)}
    assert sizes(packing.Retry(1.5, 4.0)) == {starved: (6, 40), slow: (3, 180), fine: (3, 40)}
    assert sizes(packing.Retry(1.0, 1.0)) == dict.fromkeys(asked, (3, 40))


# What logs say.
@pytest.mark.parametrize(
    ("lines", "kind", "reason"),
    [
        (
            "slurmstepd: error: execve(): python: No such file or directory\n"
            "srun: error: n2: task 0: Exited with exit code 2\n",
            "", "execve(): python: No such file or directory",
        ),
        (
            "slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***\n"
            "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n"
            "srun: error: Timed out waiting for job step to complete\n",
            "timeout", "TIMEOUT",
        ),
        (
            "slurmstepd: error: *** STEP 9.0 ON n1 CANCELLED AT 2026 DUE TO NODE FAILURE ***",
            "node", "NODE_FAIL",
        ),
        (
            "slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026 DUE TO PREEMPTION ***",
            "preempted", "PREEMPTED",
        ),
        ("slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026 ***", "cancelled", "CANCELLED"),
        (OOM, "oom", "OUT_OF_MEMORY"),
        (
            "Traceback (most recent call last):\n  File \"x.py\", line 3, in f\n    y()\n"
            "ImportError: no torch\nsrun: error: n1: task 0: Exited with exit code 1\n",
            "", "ImportError: no torch",
        ),
        ("Bus error (core dumped)\n", "", "Bus error (core dumped)"),
    ],
)  # fmt: skip
def test_the_reason_is_the_line_that_says_it(lines, kind, reason):
    found = ending(lines)
    assert (found.kind, found.reason[: len(reason)]) == (kind, reason)
    assert "9" not in found.reason  # no number of a job: equal reasons are one line


def test_only_the_last_run_of_a_job_counts(tmp_path):
    log = tmp_path / "x.err"
    assert last_run(log) == ""
    log.write_text(f"start of run 0.0 on n1, now\n{OOM}start of run 0.1 on n1, now\nfine\n")
    assert last_run(log).strip() == "fine"
    log.write_text("start of run 0.0 on n1, now\n")
    assert ending(last_run(log)) is None


def test_neither_the_pickle_nor_the_recovery_imports_torch():
    """A signal before the handler is set kills, and torch takes a minute from a cold disk."""
    code = "import sys, slurm.jobs, slurm.recovery; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


RESULT = "logs/7_0_result.pkl"  # submitit's, of a task that came to its end


def script(tmp_path, step, recovery):
    """Return what the script of a job does whose step and recovery are these shell commands."""
    resources = parse("hang_min=0")
    lines = [
        "#!/bin/bash", NAMED, "silence=$$x", f"echo step >>{tmp_path}/log", step,
        *resources._teardown(str(tmp_path)),
    ]  # fmt: skip
    folder = tmp_path / "bin"
    for new in (folder, tmp_path / "logs"):
        new.mkdir(exist_ok=True)
    for name, text in {"scontrol": f"echo $@ >>{tmp_path}/log", "recovery": recovery}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    text = "\n".join(lines).replace(f"{resources.python} -m slurm.recovery", "recovery")
    (tmp_path / "script").write_text(text)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    answer = subprocess.run(
        ["bash", tmp_path / "script"], env=environment | {"BENCH_TRY": "0"}, cwd=tmp_path
    )
    return answer.returncode, (tmp_path / "log").read_text().splitlines()


@pytest.mark.parametrize(
    ("step", "recovery", "code", "log"),
    [
        (f"touch {RESULT}", "exit 99", 0, ["step"]),
        ("true", f"exit {REQUEUE}", LOST, ["step", "requeue 7"]),  # no end, whatever srun says
        ("exit_(){ return 139; }; exit_", f"exit {REQUEUE}", 139, ["step", "requeue 7"]),
        ("exit_(){ return 1; }; exit_", f"exit {END}", 1, ["step"]),
        (f"[ $BENCH_TRY -ge 2 ] && touch {RESULT}", f"exit {AGAIN}", 0, ["step"] * 3),
        ("exit_(){ return 137; }; exit_", "exit 1", 137, ["step", "requeue 7"]),  # no Python left
        ("exit_(){ return 2; }; exit_", "exit 127", 2, ["step"]),
    ],
)
def test_the_script_does_what_the_recovery_says(tmp_path, step, recovery, code, log):
    assert script(tmp_path, step, recovery) == (code, log)


def test_a_task_of_an_array_sends_itself_back_and_not_the_array(tmp_path, monkeypatch):
    """Its last task has the number of the array."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert script(tmp_path, "false", f"exit {REQUEUE}") == (1, ["step", "requeue 7_3"])
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("BENCH_JOB", "7_3")  # as the script exports it
    assert (Job.current().id, Job.current().name) == ("7", "7_3")
    result = RESULT.replace("7_", "7_3_")
    assert script(tmp_path, f"touch {result}", "exit 99")[0] == 0


def test_asked_memory_and_time_are_read_from_scontrol(tmp_path, monkeypatch):
    from slurm.recovery import asked

    (tmp_path / "scontrol").write_text(
        "#!/bin/sh\necho 'JobId=7 TimeLimit=1-02:30:00 TRES=cpu=4,mem=2.50G,node=1,gres/gpu=1'\n"
    )
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert asked("7") == (2560, 1440 + 150)
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    assert asked("7") == (0, 0)


def test_a_plan_names_the_cells_of_each_task(sweep):
    from slurm.recovery import own_cells

    assert own_cells(sweep, "bench-20260101-000000-ab-cd-0", "0") == SLUGS
    (sweep / "plan.json").write_text(json.dumps({"chunks": [[["x"]], [["y"], ["z"]]]}))
    assert own_cells(sweep, "bench-S-1", "1") == ["z"]
    assert own_cells(sweep, "bench-S-0", "") == ["x"]
