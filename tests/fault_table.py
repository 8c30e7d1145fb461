"""What faults cost a sweep: each is made several times on a real Slurm, and the damage counted.

    slurm/local_cluster.sh run python tests/fault_table.py --times 5

Prints a table and exits with 1 when a cell was lost, trained twice, or recorded with other numbers
than a run in one process without faults. "run again" counts how often cells had left the queue
untrained, so that a person had to submit them again: 0 where the sweep recovered by itself. In the
rows of a bad cell, the cells are the healthy ones of its job.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import test_slurm_cluster as cluster

from benchmark.core.record import read_record
from benchmark.core.registry import InputError
from benchmark.sweep import claims

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


def crash_node(runs):
    cluster.crash_node(cluster.training(runs)[0].pid)


def age_claim(runs):
    """Make the claim of a live cell look as if its owner had been silent for ten minutes."""
    for claim in list(runs.rglob("claim.json"))[:1]:
        os.utime(claim, (time.time() - 600,) * 2)


def requeue(runs):
    for job in cluster.queue("running"):
        subprocess.run(["scontrol", "requeue", job], check=True)


def suspend(runs):
    """Stop a job for longer than a claim lives, while a run in a process looks for cells."""
    job = cluster.queue("running")[0]
    subprocess.run(["scontrol", "suspend", job], check=True)
    time.sleep(claims.STALE_S + 20)
    command = [sys.executable, "-m", "benchmark", "run", "--runs", runs, "--batch-size", "8"]
    beside = subprocess.Popen([*command, "--backbones", "tiny_vit", *CELLS], cwd=cluster.ROOT)
    time.sleep(20)
    subprocess.run(["scontrol", "resume", job], check=True)
    assert beside.wait(1800) == 0


# fault -> (what makes it, what jobs ask for)
FAULTS = {
    "kill -9 of a job step": (kill_9, "mem_gb=2"),
    "preemption": (preempt, "mem_gb=2,partition=low"),
    "signal of a time-out": (time_out, "mem_gb=2,timeout_min=10"),
    "scancel, then run again": (cancel, "mem_gb=2"),
    "node set down": (node_down, "mem_gb=2"),
    "kill -9 of the controller": (restart_controller, "mem_gb=2"),
    "kill -9 of slurmd, step and task": (crash_node, "mem_gb=2"),
    "scontrol requeue": (requeue, "mem_gb=2"),
    "claim of a live cell made old": (age_claim, "mem_gb=2"),
    "scontrol suspend for 200 s": (suspend, "mem_gb=2"),
}


def strike(folder, times, make, asked):
    """Make a fault `times` times while sweeps run; yield (folder, submissions after the first)."""
    tried = number = 0
    while tried < times:
        runs, number, again = folder / str(number), number + 1, 0
        cluster.submit(runs, *CELLS, slurm=asked, per_job=4)
        while len(cluster.records(runs)) < COUNT:
            if tried < times and cluster.training(runs) and cluster.queue("running"):
                make(runs)
                tried += 1
                time.sleep(5)
            elif not cluster.queue() and len(cluster.records(runs)) < COUNT:
                cluster.submit(runs, *CELLS, slurm=asked, per_job=4)
                again += 1
            time.sleep(0.3)
        cluster.wait_for(lambda: not cluster.queue())
        yield runs, again


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
        yield runs, 0


def submitter_killed(folder, times):
    """The submitting process is killed right after a call of sbatch; the second run continues."""
    for number in range(times):
        runs = folder / str(number)
        cluster.killed_submission(folder, runs, *CELLS, after=1 + number % 2)
        cluster.submit(runs, *CELLS, per_job=2)
        cluster.wait_for(lambda: not cluster.queue())
        yield runs, 1


def at_start(folder, times):
    """Jobs are preempted in their first second, before Python has imported anything."""
    for number in range(times):
        runs = folder / str(number)
        cluster.submit(runs, *CELLS, slurm="mem_gb=2,partition=low", per_job=4)
        cluster.wait_for(lambda: cluster.queue("running"))
        preempt(runs)
        cluster.wait_for(lambda: not cluster.queue(), 1200)
        yield runs, 0


def bad_cells(method, asked):
    """Return a fault: two cells that kill their process, first of a job with two healthy ones."""

    def fault(folder, times):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nasty.py").write_text(cluster.NASTY)
        os.environ["PYTHONPATH"] = f"{folder}:{cluster.ROOT}"
        for number in range(times):
            runs = folder / str(number)
            methods = ["--methods", f"nasty:{method},bitfit", "--seeds", "0,1"]
            cluster.submit(runs, *methods, *CELLS[4:], slurm=asked, per_job=4)
            cluster.wait_for(lambda: not cluster.queue(), 3600)
            errors = len(list(runs.rglob("error.txt")))
            assert errors == 2, f"{errors} of the 2 bad cells were given up"
            yield runs, 0

    return fault


def full_disk(folder, times):
    """The file system of the runs folder is full for 45 s while cells train."""
    for number in range(times):
        runs = folder / str(number)
        runs.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", runs], check=True)
        try:
            cluster.submit(runs, *CELLS, per_job=4)
            cluster.wait_for(lambda runs=runs: cluster.training(runs))
            with (runs / "ballast").open("wb") as ballast, suppress(OSError):
                while True:
                    ballast.write(bytes(65536))
                    ballast.flush()
            time.sleep(45)
            (runs / "ballast").unlink()
            cluster.wait_for(lambda: not cluster.queue(), 1800)
            yield runs, 0
        finally:
            subprocess.run(["umount", "--lazy", runs], check=True)


def controller_away(folder, times):
    """The controller is killed under `run --wait`, and comes back half a minute later."""
    for number in range(times):
        runs = folder / str(number)
        cluster.with_images(runs)
        command = [sys.executable, "-m", "benchmark", "run", "--runs", runs, "--batch-size", "8"]
        command += ["--backbones", "tiny_vit", *CELLS, "--executor", "slurm", "--wait"]
        command += ["--cells-per-job", "4", "--slurm", "mem_gb=2"]
        waiting = subprocess.Popen(command, cwd=cluster.ROOT, stdout=subprocess.DEVNULL)
        cluster.wait_for(lambda runs=runs: cluster.training(runs))
        path = Path(os.environ["SLURM_CONF"]).parents[1] / "run" / "slurmctld.pid"
        os.kill(int(path.read_text()), signal.SIGKILL)
        time.sleep(30)
        subprocess.run([cluster.ROOT / "slurm" / "local_cluster.sh", "start"], check=True)
        assert waiting.wait(1800) == 0
        yield runs, 0


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


def of_healthy(reference):
    """Return the records of the cells that stand beside bad ones."""
    return {
        slug: record
        for slug, record in reference.items()
        if record["cell"]["method"] == "bitfit" and record["cell"]["seed"] < 2
    }


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
    show("fault", "times", "cells", "run again", "lost", "trained twice", "records corrupted", "s")
    show(*["---"] * 8)
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
        more = {
            "two sweeps and a local run": competing,
            "submitter killed": submitter_killed,
            "preemption in the first second": at_start,
            "disk full for 45 s": full_disk,
            "controller away under --wait": controller_away,
        }
        bad = {
            "bad cell: segmentation fault": bad_cells("Segv", "mem_gb=2"),
            "bad cell: hang (hang_min=1)": bad_cells("Hang", "mem_gb=2,hang_min=1"),
            "bad cell: too much memory": bad_cells("Hungry", "mem_gb=2"),
        }
        for number, (fault, how) in enumerate({**more, **bad}.items()):
            faults[fault] = how(folder / f"more{number}", arguments.times)
        for fault, folders in faults.items():
            if any(word in fault for word in arguments.only.split(",")):
                since = time.monotonic()
                wanted = of_healthy(reference) if fault in bad else reference
                found = [(again, *damage(runs, wanted)) for runs, again in folders]
                sums = [sum(column) for column in zip(*found, strict=True)]
                total += sum(sums[1:])
                row = [fault, arguments.times, len(wanted) * len(found), *sums]
                row.append(round(time.monotonic() - since))
                show(*row)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
