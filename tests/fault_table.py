"""What faults cost a sweep: each is made several times on a real Slurm, and the damage counted.

    slurm/local_cluster.sh run python tests/fault_table.py --times 5

Prints a table and exits with 1 when a cell was lost, trained twice, or recorded with other numbers
than a run in one process without faults.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import test_slurm_cluster as cluster

from benchmark.core.record import read_record
from benchmark.core.registry import InputError

CELLS = ["--methods", "lora(rank=2),bitfit", "--seeds", "0,1,2,3", "--fractions", "0.1"]
CELLS += ["--steps", "300", "--evaluations", "10"]
COUNT = 8


def kill_9(runs):
    for claim in cluster.training(runs)[:1]:
        os.kill(claim.pid, signal.SIGKILL)


def preempt(runs):
    blocker = ["sbatch", "--partition=high", "--exclusive", "--nodes=2", "--output=/dev/null"]
    subprocess.run([*blocker, "--wrap", "sleep 1"], check=True, capture_output=True)


def time_out(runs):
    for job in cluster.queue("running"):
        subprocess.run(["scancel", "--signal=USR2", job], check=True)


def cancel(runs):
    cluster.benchmark("cancel", "--runs", runs)
    cluster.wait_for(lambda: not cluster.queue())


def node_down(runs):
    command = ["squeue", "--me", "--noheader", "--states=running", "--format=%N"]
    node = subprocess.run(command, capture_output=True, text=True).stdout.split()[0]
    change = ["scontrol", "update", f"nodename={node}"]
    subprocess.run([*change, "state=down", "reason=test"], check=True)
    time.sleep(3)
    subprocess.run([*change, "state=resume"], capture_output=True)  # it may have come back


def restart_controller(runs):
    command = [cluster.ROOT / "slurm" / "local_cluster.sh", "restart"]
    subprocess.run(command, check=True, capture_output=True)


# fault -> (what makes it, what jobs ask for)
FAULTS = {
    "kill -9 of a job step": (kill_9, "mem_gb=2"),
    "preemption": (preempt, "mem_gb=2,partition=low"),
    "signal of a time-out": (time_out, "mem_gb=2,timeout_min=10"),
    "scancel, then run again": (cancel, "mem_gb=2"),
    "node set down": (node_down, "mem_gb=2"),
    "kill -9 of the controller": (restart_controller, "mem_gb=2"),
}


def strike(folder, times, make, asked):
    """Make a fault `times` times while sweeps run to their end; yield their folders."""
    tried = number = 0
    while tried < times:
        runs, number = folder / str(number), number + 1
        cluster.submit(runs, *CELLS, slurm=asked, per_job=4)
        while len(cluster.records(runs)) < COUNT:
            if tried < times and cluster.training(runs) and cluster.queue("running"):
                make(runs)
                tried += 1
                time.sleep(5)
            elif not cluster.queue() and len(cluster.records(runs)) < COUNT:
                cluster.submit(runs, *CELLS, slurm=asked, per_job=4)
            time.sleep(0.3)
        cluster.wait_for(lambda: not cluster.queue())
        yield runs


def competing(folder, times):
    """Two sweeps and a run in one process at the same time, on one folder."""
    for number in range(times):
        runs = folder / str(number)
        cluster.with_images(runs)
        command = [sys.executable, "-m", "benchmark", "run", "--runs", runs, "--batch-size", "8"]
        command += ["--backbones", "tiny_vit", *CELLS]
        slurm = ["--executor", "slurm", "--cells-per-job", "2", "--slurm", "mem_gb=2"]
        started = [
            subprocess.Popen([*command, *more], cwd=cluster.ROOT, stdout=subprocess.DEVNULL)
            for more in ([], slurm, slurm)
        ]
        assert not any(process.wait() for process in started)
        cluster.wait_for(lambda: not cluster.queue())
        yield runs


def submitter_killed(folder, times):
    """The submitting process is killed right after a call of sbatch; the second run continues."""
    for number in range(times):
        runs = folder / str(number)
        cluster.killed_submission(folder, runs, *CELLS, after=1 + number % 2)
        cluster.submit(runs, *CELLS, per_job=2)
        cluster.wait_for(lambda: not cluster.queue())
        yield runs


def damage(runs, reference):
    """Return (cells lost, trained twice, records corrupted) in a folder."""
    corrupted = 0
    for path in runs.rglob("record.json"):
        try:
            read_record(path)
        except InputError:
            corrupted += 1
    found = cluster.records(runs)
    corrupted += sum(
        cluster.numbers(found[s]) != cluster.numbers(r) for s, r in reference.items() if s in found
    )
    twice = sum(count - 1 for count in cluster.trained(runs).values())
    return len(reference.keys() - found.keys()), twice, corrupted


def show(*row):
    sys.stdout.write("| " + " | ".join(map(str, row)) + " |\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument(
        "--only", default="", help="faults whose names hold one of these", metavar="A,B"
    )
    arguments = parser.parse_args()
    total = 0
    show("fault", "times", "cells", "lost", "trained twice", "records corrupted", "s")
    show(*["---"] * 7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answer = cluster.benchmark(
            "run",
            "--runs",
            folder / "inline",
            "--backbones",
            "tiny_vit",
            "--batch-size",
            "8",
            *CELLS,
        )
        assert answer.returncode == 0, answer.stderr
        reference = cluster.records(folder / "inline")
        cluster.DECODED.append(folder / "inline" / "cache")
        faults = {
            fault: strike(folder / str(number), arguments.times, *how)
            for number, (fault, how) in enumerate(FAULTS.items())
        }
        faults["two sweeps and a local run"] = competing(folder / "two", arguments.times)
        faults["submitter killed"] = submitter_killed(folder / "dead", arguments.times)
        for fault, folders in faults.items():
            if any(word in fault for word in arguments.only.split(",")):
                since = time.monotonic()
                found = [damage(runs, reference) for runs in folders]
                sums = [sum(column) for column in zip(*found, strict=True)]
                total += sum(sums)
                row = [fault, arguments.times, COUNT * len(found), *sums]
                row.append(round(time.monotonic() - since))
                show(*row)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
