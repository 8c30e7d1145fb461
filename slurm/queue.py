"""What Slurm knows of our jobs, asked for once per call; and how a sweep lies on the disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.registry import InputError

PREFIX = "bench-"  # of job names: bench-SWEEP-CHUNK
SWEEPS = "sweeps"
JOBS = "jobs.json"  # of a sweep: the ids of its arrays


@dataclass(frozen=True)
class Waiting:
    """A job in the queue: which batch of which sweep, its id, "PENDING" or "RUNNING", and why."""

    sweep: str
    batch: int
    job: str
    state: str
    reason: str


@dataclass(frozen=True)
class Sweep:
    """A submitted sweep: `chunks` are arrays, `chunks[c][i]` the slugs of task i's cells."""

    folder: Path
    chunks: list[list[list[str]]]

    @property
    def name(self) -> str:
        """Return the name of the sweep."""
        return self.folder.name

    def slugs(self, chunk: int, task: int) -> list[str]:
        """Return the cells of one array task."""
        return self.chunks[chunk][task]


def call(*command: str) -> str:
    """Return the output of a Slurm command.

    Raises:
        InputError: it is not on the PATH, fails, or does not answer; with its own first line.
    """
    if shutil.which(command[0]) is None:
        raise InputError(
            f"there is no {command[0]} on the PATH; log in to a Slurm host, or use --executor local"
        )
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]} did not answer within 60 s; try again later") from None
    if answer.returncode:
        lines = (answer.stderr or answer.stdout).strip().splitlines() or ["no output"]
        raise InputError(f"{command[0]} refused: {lines[0]}")
    return answer.stdout


def sweeps(runs: Path) -> list[Sweep]:
    """Return the sweeps below `runs`, oldest first; without those whose plan was damaged."""
    found = []
    for path in sorted(runs.glob(f"{SWEEPS}/*/plan.json"), key=lambda path: path.stat().st_mtime):
        with suppress(ValueError, KeyError):
            found.append(Sweep(path.parent, json.loads(path.read_text())["chunks"]))
    return found


def waiting() -> list[tuple[Waiting, int]]:
    """Return (job, chunk) of every job of ours in the queue, from one call of squeue."""
    lines = call("squeue", "--me", "--noheader", "--array", "--format=%j|%F|%K|%T|%r").splitlines()
    found = []
    for line in filter(str.strip, lines):
        name, job, task, state, reason = line.strip().split("|", 4)
        sweep, _, chunk = name.removeprefix(PREFIX).rpartition("-")
        if name.startswith(PREFIX) and chunk.isdigit():
            index = int(task) if task.isdigit() else 0
            single = f"{job}_{task}" if task.isdigit() else job
            found.append((Waiting(sweep, index, single, state, reason), int(chunk)))
    return found


def queued(runs: Path, jobs: Iterable[tuple[Waiting, int]]) -> dict[str, Waiting]:
    """Return slug -> job for the cells of the jobs in the queue."""
    known = {sweep.name: sweep for sweep in sweeps(runs)}
    return {
        slug: job
        for job, chunk in jobs
        if job.sweep in known
        for slug in known[job.sweep].slugs(chunk, job.batch)
    }


def orphans(runs: Path, jobs: Iterable[tuple[Waiting, int]]) -> list[str]:
    """Return the jobs whose submitter was killed before it had written what they are to run."""
    known = {sweep.name: sweep.folder / "logs" for sweep in sweeps(runs)}
    return [
        job.job
        for job, _ in jobs
        if job.sweep in known and not (known[job.sweep] / f"{job.job}_submitted.pkl").exists()
    ]


def cancel(runs: Path) -> int:
    """Cancel all jobs of the sweeps below `runs` with one call; return how many there were."""
    names = {sweep.name for sweep in sweeps(runs)}
    jobs = sorted({job.job for job, _ in waiting() if job.sweep in names})
    if jobs:
        call("scancel", *jobs)
    return len(jobs)


def ended(runs: Path, wanted: set[str]) -> dict[str, str]:
    """Return slug -> how its last job ended, as the last line of the job's error log says."""
    found: dict[str, str] = {}
    for sweep in sweeps(runs):
        with suppress(OSError, ValueError, KeyError):
            ids = json.loads((sweep.folder / JOBS).read_text())["ids"]
            for job, tasks in zip(ids, sweep.chunks, strict=False):
                for number, slugs in enumerate(tasks):
                    single = f"{job}_{number}" if len(tasks) > 1 else job
                    if mine := wanted.intersection(slugs):
                        line = last_line(sweep.folder / "logs" / f"{single}_0_log.err")
                        found |= dict.fromkeys(mine, f"job {single} ended: {line}" if line else "")
    return {slug: text for slug, text in found.items() if text}


def last_line(log: Path) -> str:
    """Return the last line of a log that says something; "" where there is no log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4096))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:200] if lines else ""


def silent(runs: Path) -> list[str]:
    """Return a sentence per sweep whose jobs left no log: its nodes do not see the folder."""
    return [
        f"sweep {sweep.name} left no log: do its nodes see {str(runs.resolve())!r}?"
        for sweep in sweeps(runs)
        if not any(sweep.folder.glob("logs/*_log.*"))
    ]


def notes(runs: Path) -> list[str]:
    """Return what jobs have noted for people: a stale snapshot, a limit that was reached."""
    paths = sorted(runs.glob(f"{SWEEPS}/*/note-*.txt"))
    return list(dict.fromkeys(path.read_text().strip() for path in paths))
