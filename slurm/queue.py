"""What Slurm knows of our jobs, asked for once per call; and how a sweep lies on the disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmark.core.files import digest, read_json
from benchmark.core.registry import InputError, unknown
from benchmark.execution.status import Status
from benchmark.sweep.claims import read
from benchmark.sweep.ends import read_ends
from slurm.logs import Ending, ending, last_run

PREFIX = "bench-"  # of job names: bench-SWEEP-CHUNK
SWEEPS = "sweeps"
JOBS = "jobs.json"  # of a sweep: the ids of its arrays
POLL_S = 5.0
KINDS = ("failed", "oom", "timeout")
# Reasons of Slurm to let a job wait that do not go away by waiting.
HOPELESS = (
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "AccountNotAllowed",
    "QOSNotAllowed",
)
# Reasons behind which Slurm waits for a person; the last two are its own answer to a failed launch.
HELD = (
    "JobHeldUser",
    "JobHeldAdmin",
    "JobHoldMaxRequeue",
    "job requeued in held state",
    "launch failed requeued held",
)
T = TypeVar("T")


@dataclass(frozen=True)
class Waiting:
    """A job in the queue: which batch of which array of which sweep, its state, and why.

    `job` is its own id (12_3), `array` that of its array (12); `state` is "PENDING" or "RUNNING".
    """

    sweep: str
    chunk: int
    batch: int
    job: str
    array: str
    state: str
    reason: str

    def describe(self) -> str:
        """Return "pending (Priority)"; a reason that does not go away by waiting is marked."""
        why = "" if self.reason in ("None", "") else f" ({self.reason})"
        advice = ""
        if self.is_held:
            advice = f"; Slurm holds it until you call: scontrol release {self.job}"
        elif self.reason in HOPELESS:
            advice = "; it will not start: cancel, and ask for something else"
        return f"{self.state.lower()}{why}{advice}"

    @property
    def is_held(self) -> bool:
        """Whether Slurm waits for a person; newer versions write reasons with underscores."""
        return self.reason.replace("_", " ") in HELD

    @property
    def is_stuck(self) -> bool:
        """Whether waiting alone will not start it."""
        return self.is_held or self.reason in HOPELESS


@dataclass(frozen=True)
class Submitted:
    """A sweep that was sent: `chunks` are arrays, `chunks[c][i]` the slugs of task i's cells."""

    folder: Path
    chunks: list[list[list[str]]]

    @property
    def name(self) -> str:
        """Return its name, which those of its jobs hold."""
        return self.folder.name

    def jobs(self) -> list[tuple[str, list[str]]]:
        """Return (id of the job, its cells) of every job that was submitted."""
        try:
            ids = read_json(self.folder / JOBS, "")["ids"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [
            (f"{job}_{number}" if len(tasks) > 1 else str(job), slugs)
            for job, tasks in zip(ids, self.chunks, strict=False)
            for number, slugs in enumerate(tasks)
        ]


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


def patiently(ask: Callable[[], T], poll_s: float = POLL_S) -> T:
    """Return what `ask` returns, as soon as Slurm answers.

    A controller is restarted, or too busy for a minute, on every cluster now and then. Who waits
    for hours must not give up because of that; it is said once.
    """
    complained = False
    while True:
        try:
            answer = ask()
        except InputError as error:
            if not complained:
                sys.stderr.write(f"{error}; asking again until it answers\n")
            complained = True
            time.sleep(poll_s)
            continue
        if complained:
            sys.stderr.write("Slurm answers again\n")
        return answer


def sweeps(runs: Path) -> list[Submitted]:
    """Return the sweeps below `runs`, oldest first; without those whose plan was damaged."""
    known = []
    for path in sorted(runs.glob(f"{SWEEPS}/*/plan.json"), key=lambda path: path.stat().st_mtime):
        with suppress(OSError, ValueError, KeyError, TypeError):
            known.append(Submitted(path.parent, read_json(path, "")["chunks"]))
    return known


def mark(runs: Path) -> str:
    """Return what the names of all sweeps of a runs folder hold, also after it was deleted."""
    return digest(str(runs.resolve()), 6)


def waiting() -> list[Waiting]:
    """Return every job of ours in the queue, from one call of squeue."""
    # %F and %K are the ids of array and task; --array gives each task that still waits a line
    lines = call("squeue", "--me", "--noheader", "--array", "--format=%j|%F|%K|%T|%r").splitlines()
    jobs = []
    for line in filter(str.strip, lines):
        name, array, task, state, reason = line.strip().split("|", 4)
        sweep, _, chunk = name.removeprefix(PREFIX).rpartition("-")
        if name.startswith(PREFIX) and chunk.isdecimal():
            index = int(task) if task.isdecimal() else 0
            job = f"{array}_{task}" if task.isdecimal() else array
            jobs.append(Waiting(sweep, int(chunk), index, job, array, state, reason))
    return jobs


def queued(runs: Path, jobs: Iterable[Waiting]) -> dict[str, Waiting]:
    """Return slug -> job for the cells of the jobs in the queue."""
    known = {sweep.name: sweep for sweep in sweeps(runs)}
    job_of: dict[str, Waiting] = {}
    for job in jobs:
        with suppress(KeyError, IndexError):  # another folder's, or a plan that was replaced
            job_of |= dict.fromkeys(known[job.sweep].chunks[job.chunk][job.batch], job)
    return job_of


def is_of(runs: Path, job: Waiting, names: Iterable[str]) -> bool:
    """Return whether a job belongs to `runs`, whose sweeps have these `names`."""
    return job.sweep in names or f"-{mark(runs)}-" in job.sweep


def orphans(runs: Path, jobs: Iterable[Waiting]) -> list[str]:
    """Return the jobs that have nothing to run.

    Their submitter was killed before it had written that, or somebody deleted their sweep.
    """
    known = {sweep.name: sweep.folder / "logs" for sweep in sweeps(runs)}
    return [
        job.job
        for job in jobs
        if is_of(runs, job, known)
        and not (job.sweep in known and (known[job.sweep] / f"{job.job}_submitted.pkl").exists())
    ]


def cancel(runs: Path) -> int:
    """Cancel all jobs of the sweeps of `runs` with one call; return how many there were."""
    names = {sweep.name for sweep in sweeps(runs)}
    jobs = [job for job in waiting() if is_of(runs, job, names)]
    if jobs:
        # arrays, not their thousands of tasks: a command line has a limit
        call("scancel", *sorted({job.array for job in jobs}))
    return len(jobs)


def await_end(runs: Path) -> None:
    """Return when no job of `runs` is in the queue, however long Slurm does not answer.

    A job that waiting alone will not start is told once: only a person can end that.
    """
    names = {sweep.name for sweep in sweeps(runs)}
    told: set[tuple[str, str]] = set()
    while ours := [job for job in patiently(waiting) if is_of(runs, job, names)]:
        for job in ours:
            if job.is_stuck and (job.job, job.reason) not in told:
                told.add((job.job, job.reason))
                sys.stderr.write(f"job {job.job}: {job.describe()}\n")
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Last:
    """How the last job of a cell ended: the job, its log, the kind of its end, and the reason."""

    job: str
    log: Path
    kind: str
    reason: str


def ended(runs: Path, wanted: set[str]) -> dict[str, Last]:
    """Return slug -> how its last job ended, for those of `wanted` whose job says something.

    Of the cells of a job, the one that was in training when it ended is the one to blame: its claim
    is still there, or its file of deaths. The others only waited behind it.
    """
    # a later sweep replaces what an earlier one says of the same cell
    last: dict[str, tuple[str, Path, list[str]]] = {}
    for sweep in sweeps(runs):
        for job, slugs in sweep.jobs():
            log = sweep.folder / "logs" / f"{job}_0_log.err"
            last |= dict.fromkeys(wanted.intersection(slugs), (job, log, slugs))
    endings: dict[str, Ending | None] = {}
    guilty: dict[str, list[str]] = {}
    for job, log, slugs in last.values():
        if job not in endings:
            endings[job] = ending(last_run(log))
            guilty[job] = [slug for slug in slugs if read(runs / slug) or read_ends(runs / slug)]
    ends_of = {}
    for slug, (job, log, _) in last.items():
        if ends := read_ends(runs / slug):
            ends_of[slug] = Last(job, log, ends[-1].kind, f"died, {ends[-1].reason}")
        elif (how := endings[job]) is not None:
            behind = [other for other in guilty[job] if other != slug]
            reason = how.reason
            if behind and slug not in guilty[job]:
                reason = f"not begun: its job ended with {behind[0]}: {reason}"
            ends_of[slug] = Last(job, log, how.kind, reason)
    return ends_of


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
    return list(dict.fromkeys(path.read_text(errors="replace").strip() for path in paths))


def used_hours(runs: Path) -> tuple[float, bool] | None:
    """Return (hours, whether of GPUs) that the jobs of `runs` have used, as Slurm accounts them.

    None where there is no accounting, or no job.
    """
    ids = [job.partition("_")[0] for sweep in sweeps(runs) for job, _ in sweep.jobs()]
    if not ids or shutil.which("sacct") is None:
        return None
    # --duplicates: without it the runs of a job before it was requeued are left out
    command = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2"]
    try:
        text = call(
            *command, "--format=ElapsedRaw,AllocTRES", "--jobs", ",".join(dict.fromkeys(ids))
        )
    except InputError:
        return None
    return sum_of_hours(text)


def sum_of_hours(text: str) -> tuple[float, bool] | None:
    """Return what `used_hours` does, of the lines "seconds|cpu=4,gres/gpu=2" of sacct."""
    # gres/gpu counts all GPUs; a typed gres/gpu:a100 beside it counts some of them again
    hours = {"gres/gpu": 0.0, "cpu": 0.0}
    for line in text.splitlines():
        seconds, _, resources = line.partition("|")
        amounts = dict(item.partition("=")[::2] for item in resources.split(","))
        if seconds.isdecimal():
            for name in hours:
                with suppress(ValueError):
                    hours[name] += int(seconds) / 3600 * float(amounts.get(name, 0))
    name = "gres/gpu" if hours["gres/gpu"] else "cpu"
    return (hours[name], name != "cpu") if hours[name] else None


def logs_of(runs: Path, slug: str) -> list[Path]:
    """Return the logs of the last job of a cell, of all its tasks; errors first."""
    logs: list[Path] = []
    for sweep in sweeps(runs):
        for job, slugs in sweep.jobs():
            if slug in slugs:
                paths = (sweep.folder / "logs").glob(f"{job}_*_log.*")
                logs = sorted(paths, key=lambda path: (path.suffix, path.name)) or logs
    return logs


def matching(runs: Path, slugs: Mapping[str, str], kind: str) -> set[str]:
    """Return the cells whose last attempt ended like `kind`: "failed", "oom" or "timeout".

    `slugs` maps the slugs of cells to their states on the disk. A cell that is given up because of
    its memory is "failed" and "oom".

    Raises:
        InputError: another kind.
    """
    if kind not in KINDS:
        raise unknown("end of a cell", kind, KINDS)
    if kind == "failed":
        return {slug for slug, state in slugs.items() if state == "failed"}
    last = ended(runs, set(slugs))
    return {slug for slug, end in last.items() if end.kind == kind}


def ask_queue(status: Status) -> None:
    """Add what Slurm knows to a status: one question, and none where nothing is to do."""
    runs = status.runs
    if not (runs / SWEEPS).is_dir():
        return
    if (used := used_hours(runs)) is not None:
        hours, of_gpus = used
        status.problems.append(f"used: {hours:.2f} {'GPU' if of_gpus else 'core'}-hours")
    if "todo" not in status.states.values():
        return
    try:
        jobs = waiting()
    except InputError as error:
        status.problems.append(f"what Slurm is doing is not known: {error}")
        status.is_unknown = shutil.which("squeue") is not None
        return
    for slug, job in queued(runs, jobs).items():
        if status.states.get(runs / slug) == "todo":
            status.states[runs / slug] = "queued"
            status.notes[runs / slug] = job.describe()
            status.where[runs / slug] = f"job {job.job}"
    left = {str(f.relative_to(runs)) for f, s in status.states.items() if s == "todo"}
    for slug, last in ended(runs, left).items():
        status.notes[runs / slug] = last.reason
        status.where[runs / slug] = f"job {last.job}, {last.log.relative_to(runs)}"
    if left:
        status.problems += notes(runs)
    if not jobs:
        status.problems += silent(runs)
