"""Cells, runs folders and fake Slurm commands for the tests of sweeps."""

import dataclasses
import json
import os
import time

from benchmark.core.cell import Cell
from benchmark.sweep import claims, estimate
from benchmark.training.session import Session

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


def tiny_cells(tmp_path, *methods):
    from benchmark.sweep.grid import Grid
    from benchmark.sweep.resolve import Resolver

    resolver = Resolver()
    grid = Grid(
        methods, ("tiny_vit",), fractions=(0.1,), steps=(4,), batch_size=(8,), evaluations=(2,)
    )
    return resolver.cells([grid]), Session(images(tmp_path), resolver.sources)


def elsewhere(folder, age_s, job=""):
    claim = claims.Claim(folder, place="another host", pid=1, job=job)
    assert claims._create(claim)
    os.utime(claim.path, (time.time() - age_s,) * 2)
    return claim


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


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
