"""What a task of a job does with its cells; the training itself is a fake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_helpers import cells

from benchmark.core.registry import DeviceLost, InputError
from benchmark.execution import inline as inline_module
from benchmark.execution.one import Outcome
from benchmark.sweep import claims
from benchmark.sweep.ends import End, add_end, read_ends
from benchmark.training.checkpoint import Interrupted
from slurm import jobs
from slurm.recovery import AGAIN, STOPPED, Job, decide

FULL = "[Errno 28] No space left on device: 'checkpoint.part'"


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Return a function that runs a batch of three cells as task 0 of job 7, with a fake inline."""
    environment = {
        "SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(tmp_path), "SLURM_JOB_ID": "7",
        "BENCH_SINCE": "0",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jobs, "DISK_POLL_S", 0.01)
    before = signal.getsignal(signal.SIGUSR2)

    def run(train, precision="fp32", **options):
        monkeypatch.setattr(inline_module, "inline", train)
        sweep = tmp_path / "sweeps" / "S"
        sweep.mkdir(parents=True, exist_ok=True)
        return jobs.Batch(tuple(cells(3, precision=precision)), tmp_path, sweep, {}, **options)()

    yield run
    signal.signal(signal.SIGUSR2, before)


def all_done(order, session, runs, hooks, *, waits):
    for cell in order:
        hooks.start(cell)
        yield Outcome(cell, "done")


def test_a_lost_gpu_counts_as_a_death_of_its_cell_and_the_job_goes_on(batch, tmp_path, capsys):
    first, *others = cells(3)
    folder = first.folder(tmp_path)
    folder.mkdir(parents=True)

    def train(order, session, runs, hooks, **options):
        hooks.start(order[0])
        (folder / "error.txt").write_text("CUDA error\n\nTraceback ...\n")
        raise DeviceLost("the GPU was lost in it")
        yield

    with pytest.raises(SystemExit) as ended:
        batch(train)
    assert not (folder / "error.txt").exists()  # not for good: it may be the node
    log = capsys.readouterr().err
    job = Job("7", "7", restarts=0, tries=0, since=time.time(), memory_mb=0, limit_min=60)
    slugs = [cell.slug for cell in (first, *others)]
    assert decide(job, ended.value.code, tmp_path / "sweeps" / "S", slugs, log, 10) == AGAIN
    (end,) = read_ends(folder)
    assert end.kind == "crash"
    assert "the GPU was lost in it" in end.reason
    assert not (folder / "claim.json").exists()


def test_cells_whose_process_died_go_last_and_failed_ones_are_left(batch, tmp_path):
    first, second, third = cells(3)
    add_end(first.folder(tmp_path), End("crash", job="7"))
    (second.folder(tmp_path)).mkdir(parents=True)
    (second.folder(tmp_path) / "error.txt").write_text("its process died 3 times")
    seen = []

    def train(order, *rest, **options):
        seen.extend(order)
        return all_done(order, *rest, **options)

    assert batch(train) == {"done": 2, "n/a": 0, "failed": 0}
    assert seen == [third, first]
    assert not read_ends(first.folder(tmp_path))  # it is done: of no interest any more


def test_memory_that_ran_out_halves_the_images_of_that_cell_only(batch, tmp_path):
    first, second, _ = cells(3)
    for _ in range(2):
        add_end(second.folder(tmp_path), End("oom", job="7"))
    add_end(first.folder(tmp_path), End("oom", job="an earlier one, with less memory"))
    halvings = {}

    def train(order, session, runs, hooks, **options):
        for outcome in all_done(order, session, runs, hooks, **options):
            halvings[outcome.cell.seed] = session.halvings
            yield outcome

    batch(train)
    assert halvings == {0: 0, 1: 2, 2: 0}


def test_the_signal_ends_the_task_with_the_code_of_a_stop_and_counts_the_time_limit(
    batch, tmp_path
):
    def train(order, session, runs, hooks, *, waits):
        hooks.start(order[0])
        os.kill(os.getpid(), signal.SIGUSR2)
        assert hooks.step(1)
        raise Interrupted
        yield

    with pytest.raises(SystemExit) as stop:
        batch(train, limit_min=60)
    assert stop.value.code == STOPPED
    (end,) = read_ends(cells(3)[0].folder(tmp_path))
    assert (end.kind, end.job, end.limit_min) == ("timeout", "7", 60)


def test_a_full_disk_does_not_keep_a_stopped_job_from_the_queue(batch, tmp_path, monkeypatch):
    def train(order, session, runs, hooks, *, waits):
        hooks.start(order[0])
        raise Interrupted
        yield

    def refuse(*_):
        raise InputError(FULL)

    monkeypatch.setattr(jobs, "add_end", refuse)
    with pytest.raises(SystemExit) as stop:
        batch(train, limit_min=60)
    assert stop.value.code == STOPPED


def test_a_preemption_is_no_time_out(batch, tmp_path, monkeypatch):
    def train(order, session, runs, hooks, *, waits):
        hooks.start(order[0])
        raise Interrupted
        yield

    monkeypatch.setenv("BENCH_SINCE", str(os.times().elapsed + 4e9))
    with pytest.raises(SystemExit):
        batch(train, limit_min=60)
    assert not read_ends(cells(3)[0].folder(tmp_path))


def test_a_full_disk_is_waited_for(batch, capsys):
    attempts = []

    def train(order, session, runs, hooks, *, waits):
        attempts.append(len(order))
        if len(attempts) == 1:  # not even a claim can be written
            raise InputError(f"cannot write in 'runs' ({FULL})")
        for cell in order:
            full = len(attempts) == 2 and cell.seed == 1
            yield Outcome(cell, "failed", FULL) if full else Outcome(cell, "done")

    assert batch(train) == {"done": 3, "n/a": 0, "failed": 0}
    assert attempts == [3, 3, 1]
    assert capsys.readouterr().out.count("the disk is full") == 2


def test_a_disk_that_stays_full_fails_its_cells_in_the_end(batch, monkeypatch):
    monkeypatch.setattr(jobs, "DISK_S", 0.05)

    def train(order, session, runs, hooks, *, waits):
        for cell in order:
            yield Outcome(cell, "failed", FULL)

    assert batch(train)["failed"] == 3


def test_a_gpu_that_is_not_seen_ends_the_job_before_anything_is_trained(batch, tmp_path):
    def train(*_, **__):
        raise AssertionError

    with pytest.raises(InputError, match="99 GPUs were asked for and torch sees"):
        batch(train, gpus=99)
    assert "nothing was trained" in (tmp_path / "sweeps" / "S" / "note-gpu.txt").read_text()


def test_a_card_without_kernels_ends_the_job_as_well(batch, tmp_path, monkeypatch):
    def refuse(device):
        raise InputError("torch has no kernels for it")

    monkeypatch.setattr("benchmark.training.session.check_card", refuse)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(InputError, match=r"no kernels for it; nothing was trained"):
        batch(all_done)
    assert "no kernels" in (tmp_path / "sweeps" / "S" / "note-gpu.txt").read_text()


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_cells_in_bfloat16_on_a_card_that_emulates_it_are_told(batch, tmp_path, monkeypatch,
        capsys, precision):  # fmt: skip
    known = {
        "benchmark.training.session.check_card": lambda device: None,
        "benchmark.training.session.has_bfloat16": lambda device: False,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.set_device": lambda device: None,
        "torch.cuda.get_device_name": lambda device: "Tesla T4",
    }
    for name, value in known.items():
        monkeypatch.setattr(name, value)
    assert batch(all_done, precision=precision)["done"] == 3
    note = tmp_path / "sweeps" / "S" / "note-bfloat16.txt"
    assert note.exists() is (precision == "bf16")
    assert ("Tesla T4 emulates bfloat16" in capsys.readouterr().err) is note.exists()
    if note.exists():  # `status` prints it
        assert "--precision fp32" in note.read_text()


def test_tasks_of_a_job_share_out_the_slices_of_its_cards(batch, monkeypatch):
    known = {
        "benchmark.training.session.check_card": lambda device: None,
        "benchmark.training.session.has_bfloat16": lambda device: True,
        "torch.cuda.device_count": lambda: 1,  # so many as a process can see
        "torch.cuda.set_device": lambda device: None,
    }
    for name, value in known.items():
        monkeypatch.setattr(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    taken = []

    def train(order, session, runs, hooks, *, waits):
        taken.append((os.environ["CUDA_VISIBLE_DEVICES"], str(session.device)))
        yield from ()

    batch(train, gpus=2)  # "2 GPUs were asked for and torch sees 1"
    assert taken == [("MIG-b", "cuda:0")]


def test_a_job_waits_for_cells_of_its_own_tasks_only(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not jobs.is_ours(tmp_path)
    claim = claims.take(tmp_path)
    assert jobs.is_ours(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert not jobs.is_ours(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not jobs.is_ours(tmp_path)
    claims.release(claim)


def ends_of(body):
    """Return (exit code, error log) of a process that has a clock of one second and does `body`."""
    code = f"import time; from slurm.jobs import HangClock; clock = HangClock(1.0)\n{body}"
    root = Path(__file__).parents[1]
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60
    )
    return answer.returncode, answer.stderr


def test_a_hang_is_ended_with_its_stack_in_the_log():
    code, log = ends_of("def stuck():\n    time.sleep(50)\nclock.rearm(); stuck()")
    assert code == 1
    assert "Timeout (0:00:01)!" in log
    assert "in stuck" in log


def test_a_loop_that_never_leaves_a_library_is_ended_as_well():
    # the thread of a watchdog in Python would wait for the interpreter for ever
    code, _ = ends_of("clock.rearm(); sum(range(10**13))")
    assert code == 1


def test_steps_that_go_on_are_left_alone():
    steps = "[(clock.rearm(), time.sleep(0.3)) for _ in range(6)]"
    assert ends_of(f"{steps}; clock.stop(); time.sleep(1.2)") == (0, "")
    assert ends_of("HangClock(0.0).rearm(); time.sleep(0.1)") == (0, "")
