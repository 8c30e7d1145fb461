"""Planning, splitting, claims and texts: what needs no Slurm."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from benchmark.__main__ import main
from benchmark.core.cell import Cell
from benchmark.core.registry import InputError
from benchmark.execution import one, workers
from benchmark.execution.inline import Listener, inline
from benchmark.execution.local import local
from benchmark.sweep import claims, estimate
from benchmark.training.session import Session
from slurm import jobs, needs, queue, sharing, snapshot, submit
from slurm.resources import parse

CELL = Cell(
    dataset="phantom_grading",
    data="d",
    backbone="tiny_vit",
    weights="w",
    normalize="0,0,0/1,1,1",
    method="linear",
    steps=100,
)


def cells(count, **changes):
    return [dataclasses.replace(CELL, seed=seed, **changes) for seed in range(count)]


def known(seconds_per_step, mib=100.0):
    found = estimate.Estimate()
    found.known[estimate.kind(CELL)].append((seconds_per_step, mib))
    return found


def test_auto_fills_fifteen_minutes_and_keeps_what_shares_a_session_together():
    batches = sharing.batches(cells(10), "auto", known(3.0))  # 300 s each
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    mixed = [
        cell for pair in zip(cells(4), cells(4, backbone="other"), strict=True) for cell in pair
    ]
    split = sharing.batches(mixed, "4", known(1.0))
    assert [{cell.backbone for cell in batch} for batch in split] == [{"other"}, {"tiny_vit"}]


def test_predictions_come_from_records_and_name_what_is_unknown(tmp_path):
    told = {"cell": dataclasses.asdict(CELL), "cost": {"train_s": 50.0, "peak_mib": 700.0}}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text(json.dumps(told))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_text("{half")
    found = estimate.read(tmp_path)
    assert found.seconds(dataclasses.replace(CELL, steps=200)) == pytest.approx(110.0)
    assert found.mib([CELL]) == 700.0
    seconds, unknown = found.total_s([CELL, dataclasses.replace(CELL, method="lora")])
    assert (round(seconds, 6), unknown) == (55.0, 1)


def test_arrays_stay_under_the_limit_of_the_site():
    batches = [[cell] for cell in cells(2503)]
    arrays = submit.chunks(batches, 1000)
    assert [len(array) for array in arrays] == [1000, 1000, 503]
    assert [cell for array in arrays for batch in array for cell in batch] == cells(2503)


def test_the_sbatch_text_is_this(tmp_path):
    resources = parse("partition=gpu,gpus_per_node=2,mem_gb=16,cpus_per_task=4,timeout_min=120")
    array = needs.Group(resources, [[CELL]] * 3)
    order = submit.Order([array], {}, Path("/runs"), 8)
    text = submit.sbatch_text(order, array, "bench-S-0", Path("/runs/sweeps/S/code"))
    text = text.replace(str(Path.cwd()), "/home/me")
    assert text == (Path(__file__).parent / "golden_sbatch.txt").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin=gpu", "did you mean 'partition'"),
        ("partition", "is not name=value"),
        ("mem_gb=0", "must be a whole number above 0"),
        ("timeout_min=1h", "must be a whole number above 0"),
    ],
)
def test_bad_resources_are_one_sentence(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


def test_without_slurm_nothing_is_written_but_the_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 2
    assert "there is no squeue on the PATH" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/sweeps/*"))


def test_a_dry_run_needs_no_slurm_and_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    command += ["--seeds", ",".join(map(str, range(500))), "--dry-run", "--cells-per-job", "5"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out
    assert "1000 cells in 200 jobs" in told
    assert "nothing is known of 1000" in told
    assert "#SBATCH --array=0-199%64" in told


# Claims.
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


def elsewhere(folder, age_s, job=""):
    claim = claims.Claim(folder, place="another host", pid=1, job=job)
    assert claims._create(claim)
    os.utime(claim.path, (time.time() - age_s,) * 2)
    return claim


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


def images(tmp_path):
    """Return the folder of decoded images that all tests of this session share."""
    folder = tmp_path.parent / "cache"
    folder.mkdir(exist_ok=True)
    return folder


def with_images(runs):
    """Return a new runs folder that has them."""
    runs.mkdir(parents=True, exist_ok=True)
    (runs / "cache").symlink_to(images(runs.parent))
    return runs


# Memory and failures.
def tiny_cells(tmp_path, *methods):
    from benchmark.sweep.grid import Grid
    from benchmark.sweep.resolve import Resolver

    resolver = Resolver()
    grid = Grid(
        methods, ("tiny_vit",), fractions=(0.1,), steps=(4,), batch_size=(8,), evaluations=(2,)
    )
    return resolver.cells([grid]), Session(images(tmp_path), resolver.sources)


def test_out_of_memory_halves_the_images_at_once_and_says_so(tmp_path, monkeypatch):
    (cell,), session = tiny_cells(tmp_path, "lora(rank=2)")
    reference = one.train(cell, session, tmp_path / "whole").record
    forward = Session.backbone

    def small(self, cell):
        body = forward(self, cell)

        def refuse(module, images):
            if module.training and len(images[0]) > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")

        body.register_forward_pre_hook(refuse)
        return body

    monkeypatch.setattr(Session, "backbone", small)
    outcome = one.train(cell, session, tmp_path / "small")
    assert outcome.state == "done"
    assert outcome.record.cost["micro_batch"] == 2
    assert reference.cost["micro_batch"] == 8
    assert outcome.record.test["loss"] == pytest.approx(reference.test["loss"], rel=1e-3)


def test_memory_deaths_are_read_from_the_log(tmp_path):
    log = tmp_path / "log.err"
    assert jobs.memory_deaths(log) == 0
    log.write_text("slurmstepd: error: Detected 1 oom_kill event\nTraceback: x\n")
    assert jobs.memory_deaths(log) == 1
    death = "error: Job 3 exceeded memory limit (9 > 2), being killed\n" * 2
    log.write_text(f"start of run 0\n{death}start of run 1\nx\nstart of run 2\n{death}")
    assert jobs.memory_deaths(log) == 2


def test_one_failure_leaves_the_cells_beside_it_alone(tmp_path, monkeypatch):
    found, session = tiny_cells(tmp_path, "lora(rank=2)", "bitfit")
    train = one.run

    def broken(cell, *arguments, **options):
        if cell.method == "bitfit":
            raise ValueError("this one breaks")
        return train(cell, *arguments, **options)

    monkeypatch.setattr(one, "run", broken)
    states = {o.cell.method: (o.state, o.reason) for o in inline(found, session, tmp_path)}
    assert states["bitfit"] == ("failed", "this one breaks")
    assert [state for state, _ in states.values()].count("done") == 1


def test_a_cell_that_somebody_trains_is_waited_for_or_left(tmp_path):
    (cell,), session = tiny_cells(tmp_path, "bitfit")
    folder = cell.folder(tmp_path)
    folder.mkdir(parents=True)
    elsewhere(folder, 1.0)
    assert list(inline([cell], session, tmp_path, waits=lambda folder: False)) == []
    assert not (folder / "record.json").exists()


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


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_clock_of_the_file_system_judges_the_age_of_a_claim(tmp_path, monkeypatch):
    elsewhere(tmp_path, 1.0)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this host's clock is wrong
    assert claims.take(tmp_path) is None


def test_a_process_number_that_lives_on_as_another_process_keeps_no_claim(tmp_path):
    claim = claims.Claim(tmp_path, pid=1)
    assert claims._create(claim)
    os.utime(claim.path, (time.time() - claims.STALE_S - 1,) * 2)
    assert claims.take(tmp_path) is not None


def test_a_cell_that_was_taken_over_is_left_to_the_other(tmp_path, monkeypatch):
    (cell,), session = tiny_cells(tmp_path, "bitfit")
    monkeypatch.setattr(claims.Claim, "beat", lambda self, step, steps: step < 2)
    assert one.train(cell, session, tmp_path).state == "taken"
    assert not (cell.folder(tmp_path) / "error.txt").exists()
    assert not (cell.folder(tmp_path) / "record.json").exists()


# Local workers.
COMMAND = ["run", "--backbones", "tiny_vit", "--fractions", "0.1", "--batch-size", "8"]


def test_local_workers_give_the_records_of_one_process_bit_for_bit(tmp_path, monkeypatch):
    from benchmark.execution import local as local_module

    monkeypatch.setattr(local_module, "num_cores", lambda: 2 * torch.get_num_threads())
    asked, session = tiny_cells(tmp_path, "lora(rank=2)", "bitfit")
    found = [
        {o.cell: (o.record.val, o.record.test, o.record.history) for o in outcomes}
        for outcomes in (
            inline(asked, session, tmp_path / "one"),
            local(asked, tmp_path / "two", session.cache, session.sources, 2),
        )
    ]
    assert len(found[0]) == 2
    assert found[0] == found[1]


def start(runs, *arguments):
    command = [sys.executable, "-m", "benchmark", *COMMAND, "--steps", "5000", "--evaluations"]
    command += ["1000", "--runs", str(runs), *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def owners(runs):
    """Return the processes that train a cell which has a checkpoint."""
    folders = [path.parent for path in runs.rglob("checkpoint.pt")]
    return [int(claim["pid"]) for claim in map(claims.read, folders) if claim]


@pytest.mark.parametrize("executor", [(), ("--executor", "local", "--jobs", "2")])
def test_ctrl_c_leaves_checkpoints_and_no_process(tmp_path, executor):
    runs = with_images(tmp_path / "runs")
    process = start(runs, "--methods", "bitfit,norm", *executor)
    until(lambda: len(owners(runs)) == (2 if executor else 1), 300)
    pids = owners(runs)
    os.killpg(process.pid, signal.SIGINT)
    assert "run the same command again to continue" in process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert not any(claims._runs(pid) for pid in pids)
    assert not list(tmp_path.rglob("claim.json"))
    assert not list(tmp_path.rglob("error.txt"))


def test_workers_end_when_their_caller_is_killed(tmp_path):
    runs = with_images(tmp_path / "runs")
    process = start(runs, "--methods", "bitfit", "--executor", "local", "--jobs", "1")
    until(lambda: owners(runs), 300)
    (pid,) = owners(runs)
    process.kill()
    until(lambda: not claims._runs(pid), 300)
    assert not list(tmp_path.rglob("claim.json"))
    process.communicate()


def test_a_worker_killed_with_9_loses_nothing_but_time(tmp_path):
    cells_of, session = tiny_cells(tmp_path, "lora(rank=2)", "bitfit")
    long = [dataclasses.replace(cell, steps=60, evaluations=20) for cell in cells_of]
    outcomes = local(long, tmp_path / "two", session.cache, session.sources, 2)
    killed = threading.Thread(target=kill_one, args=(tmp_path / "two",))
    killed.start()
    assert sorted(outcome.state for outcome in outcomes) == ["done", "done"]
    killed.join()


def kill_one(runs):
    until(lambda: owners(runs), 300)
    os.kill(owners(runs)[0], signal.SIGKILL)


class Deadly(workers.Worker):
    """Its process dies of one cell, each time."""

    def give(self, cell, deaths):
        super().give(cell, deaths)
        if cell.method == "bitfit":
            self.process.kill()


def test_a_cell_that_kills_its_process_fails_alone(tmp_path, monkeypatch):
    from benchmark.execution import local as local_module

    monkeypatch.setattr(local_module, "Worker", Deadly)
    found, session = tiny_cells(tmp_path, "lora(rank=2)", "bitfit")
    outcomes = local(found, tmp_path, session.cache, session.sources, 1)
    states = {o.cell.method.partition("(")[0]: (o.state, o.reason) for o in outcomes}
    assert states["bitfit"] == ("failed", "its process was killed 3 x")
    assert states["lora"][0] == "done"


# What cells need.
def of_method(method, seconds_per_step, mib):
    cell = dataclasses.replace(CELL, method=method)
    return cell, estimate.kind(cell), (seconds_per_step, mib)


def test_jobs_are_grouped_by_what_their_cells_need():
    found = estimate.Estimate()
    full, linear, other = (
        of_method("full", 60.0, 9000.0),
        of_method("linear", 0.1, 900.0),
        of_method("ssf", 0.1, 800.0),
    )  # fmt: skip
    for _, kind, pair in (full, linear, other):
        found.known[kind].append(pair)
    unknown = dataclasses.replace(CELL, method="lora")
    asked = [full[0], linear[0], other[0], unknown]
    groups = needs.groups(asked, parse(""), "auto", found)
    told = {
        tuple(c.method for batch in g.batches for c in batch): (
            g.resources.mem_gb, g.resources.timeout_min,
        )
        for g in groups
    }  # fmt: skip
    # full: 1.5 x 8.8 GiB -> 16, 2 x 100 min + 10 -> 240
    # others: 1.5 x 0.9 GiB -> 2, 2 x 20 s + 10 min -> 30
    assert told == {("full",): (16, 240), ("linear", "ssf"): (2, 30), ("lora",): (None, 60)}
    given = needs.groups(asked, parse("mem_gb=5,timeout_min=7"), "auto", found)
    assert [(g.resources.mem_gb, g.resources.timeout_min) for g in given] == [(5, 7)]


def test_gpu_hours_are_those_of_the_gpus_in_use(tmp_path, monkeypatch):
    from benchmark.commands import _execute

    monkeypatch.setenv("PATH", str(tmp_path))
    told = {"cell": dataclasses.asdict(CELL), "cost": {"train_s": 3600 / 1.1, "peak_mib": 1.0}}
    (tmp_path / "record.json").write_text(json.dumps(told))
    asked = parse("gpus_per_node=4,pack=2")
    groups = needs.groups(cells(8), asked, "8", estimate.read(tmp_path))
    text = _execute.describe(submit.Order(groups, {}, tmp_path, 1))
    assert "predicted: 4.00 GPU-hours for 8 cells" in text  # 8 h, two cells at once on a GPU


def test_memory_of_a_gpu_says_nothing_of_the_hosts(tmp_path):
    cost = {"train_s": 1.0, "peak_mib": 99.0}
    told = {
        "cell": dataclasses.asdict(CELL),
        "cost": cost,
        "provenance": {"hardware": {"gpu": "G"}},
    }
    (tmp_path / "record.json").write_text(json.dumps(told))
    found = estimate.read(tmp_path)
    assert found.seconds(CELL) is not None
    assert found.mib([CELL]) is None


# Queue and status.
def plan_of(runs, name, chunks):
    (runs / "sweeps" / name / "logs").mkdir(parents=True)
    (runs / "sweeps" / name / "plan.json").write_text(json.dumps({"chunks": chunks}))


def fake(monkeypatch, tmp_path, name, text):
    """Put a command on the PATH that prints `text` and counts its calls."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(
        f"#!/bin/sh\necho $@ >> {tmp_path}/{name}.calls\ncat <<E\n{text}\nE\n"
    )
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / f"{name}.calls"


QUEUE = """bench-S-0|12|0|RUNNING|None
bench-S-0|12|1|PENDING|Priority
bench-other-0|13|N/A|RUNNING|None
something|9|N/A|RUNNING|None"""


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
    assert calls.read_text().split() == ["12_0", "12_1"]
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


def test_gpus_are_given_to_the_tasks_in_turn():
    assert [workers.device_of(rank, 2) for rank in range(4)] == ["cuda:0", "cuda:1"] * 2
    assert workers.device_of(3, 0) == "cpu"
    assert parse("gpus_per_node=4,pack=2").tasks == 8


def test_the_listener_is_asked_after_every_step(tmp_path):
    from benchmark.training.checkpoint import Interrupted

    (cell,), session = tiny_cells(tmp_path, "bitfit")
    steps = []
    listener = Listener(step=lambda step: steps.append(step) or step == 3)
    with pytest.raises(Interrupted):
        list(inline([cell], session, tmp_path, listener))
    assert steps == [1, 2, 3]
    assert (cell.folder(tmp_path) / "checkpoint.pt").exists()
    assert not (cell.folder(tmp_path) / claims.CLAIM).exists()
    assert not (cell.folder(tmp_path) / "error.txt").exists()


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
    read = "from benchmark.provenance import checkout; print(checkout())"
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


def test_jobs_without_what_they_are_to_run_are_orphans(tmp_path, monkeypatch):
    fake(monkeypatch, tmp_path, "squeue", QUEUE)
    plan_of(tmp_path, "S", [[["a/x"], ["b/z"]]])
    (tmp_path / "sweeps" / "S" / "logs" / "12_0_submitted.pkl").touch()
    assert queue.orphans(tmp_path, queue.waiting()) == ["12_1"]


def test_submissions_to_one_folder_wait_for_each_other(tmp_path):
    order = []

    def second():
        with submit.alone(tmp_path):
            order.append("second")

    with submit.alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sweeps").write_text("in the way")
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 2
    assert re.match(r"error: cannot write in .*; choose another --runs\n$", capsys.readouterr().err)


def test_status_tells_how_jobs_ended_and_what_they_noted(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "")
    plan_of(tmp_path, "S", [[["a"], ["b", "c"]]])
    sweep = tmp_path / "sweeps" / "S"
    (sweep / "jobs.json").write_text('{"ids": ["7"]}')
    (sweep / "logs" / "7_1_0_log.err").write_text("start of run 0\nslurmstepd: CANCELLED\n\n")
    (sweep / "note-limit.txt").write_text("timed-out too many times\n")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text(json.dumps({"slugs": ["a", "b", "c"]}))
    assert main(["status", "--runs", str(tmp_path)]) == 3
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("0 done, 3 to do")
    assert told[1] == "to do: b and 1 more: job 7_1 ended: slurmstepd: CANCELLED"
    assert told[2] == "timed-out too many times"


def test_a_plan_of_1000_cells_asks_slurm_a_handful_of_times(tmp_path, monkeypatch, capsys):
    calls = [
        fake(monkeypatch, tmp_path, name, "MaxArraySize = 1001") for name in ("sbatch", "scontrol")
    ]
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    command += ["--seeds", ",".join(map(str, range(500))), "--dry-run"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    assert "1000 cells in 334 jobs" in capsys.readouterr().out
    assert [len(path.read_text().splitlines()) for path in calls] == [1, 1]


def test_1000_cells_are_submitted_with_a_handful_of_calls(tmp_path, monkeypatch, capsys):
    answers = {"squeue": "", "srun": "", "scontrol": "MaxArraySize = 1001"}
    answers["sbatch"] = "Submitted batch job 77"
    calls = {name: fake(monkeypatch, tmp_path, name, text) for name, text in answers.items()}
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    command += ["--seeds", ",".join(map(str, range(500))), "--cells-per-job", "1"]
    runs = with_images(tmp_path / "runs")
    assert main([*command, "--runs", str(runs)]) == 0
    assert "1000 cells in 1000 jobs" in capsys.readouterr().out
    told = {name: path.read_text().splitlines() for name, path in calls.items() if path.exists()}
    assert {name: len(lines) for name, lines in told.items()} == {
        "squeue": 1, "scontrol": 1, "sbatch": 3,
    }  # fmt: skip
    assert [line.split()[0] for line in told["sbatch"][:2]] == ["--version", "--test-only"]
    assert len(list(runs.glob("sweeps/*/logs/77_*_submitted.pkl"))) == 1000


def test_damaged_weights_are_found_before_anything_is_submitted(tmp_path, monkeypatch):
    from benchmark import backbones
    from benchmark.backbones import weights

    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path))
    path = tmp_path / "resnet10t.c3_in1k.safetensors"
    weights._store(path, {"a": torch.zeros(100)})
    backbones.prefetch("timm:resnet10t.c3_in1k")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="were damaged since they were stored"):
        backbones.prefetch("timm:resnet10t.c3_in1k")
