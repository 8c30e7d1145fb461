"""Cells trained here and in local workers: memory, failures, Ctrl-C, processes that die."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from sweep_helpers import tiny_cells, until, with_images

from benchmark.execution import one, workers
from benchmark.execution.inline import Hooks, inline
from benchmark.execution.local import local
from benchmark.sweep import claims
from benchmark.training.session import Session


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
    assert outcome.record.cost.micro_batch == 2
    assert reference.cost.micro_batch == 8
    assert outcome.record.test["loss"] == pytest.approx(reference.test["loss"], rel=1e-3)


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


def test_a_cell_that_nobody_may_read_fails_alone(tmp_path, monkeypatch):
    found, session = tiny_cells(tmp_path, "bitfit", "linear")
    locked = found[0].folder(tmp_path) / "record.json"
    exists = Path.exists

    def refuse(path, **options):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", refuse)
    first, second = inline(found, session, tmp_path)
    assert (first.state, first.reason) == (
        "failed", f"cannot read '{locked.parent}' (Permission denied)",
    )  # fmt: skip
    assert second.state == "done"


def test_the_listener_is_asked_after_every_step(tmp_path):
    from benchmark.training.checkpoint import Interrupted

    (cell,), session = tiny_cells(tmp_path, "bitfit")
    steps = []
    hooks = Hooks(step=lambda step: steps.append(step) or step == 3)
    with pytest.raises(Interrupted):
        list(inline([cell], session, tmp_path, hooks))
    assert steps == [1, 2, 3]
    assert (cell.folder(tmp_path) / "checkpoint.pt").exists()
    assert not (cell.folder(tmp_path) / claims.CLAIM).exists()
    assert not (cell.folder(tmp_path) / "error.txt").exists()


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
    # a suite that a script runs in the background ignores Ctrl-C, and so would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def owners(runs):
    """Return the processes that train a cell which has a checkpoint."""
    folders = [path.parent for path in runs.rglob("checkpoint.pt")]
    return [owner.pid for owner in map(claims.read, folders) if owner]


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
