"""After the step of a job has ended badly: count, give up, or try again; called by its script.

The script of the job outlives whatever kills its tasks, so it is the one that notices:

    python -m slurm.recovery SWEEP CODE MAX_NUM_TIMEOUT

The exit code says what the script is to do: `END`, `REQUEUE` (back to the queue, maybe to another
node) or `AGAIN` (at once, in the same allocation). Where Slurm itself ends a job (scancel, a node
that fails, preemption without a grace time) the script is killed as well and nothing is counted:
that is not the fault of a cell.

Imports no torch: it runs after every bad end, and within the seconds before a time limit.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.files import ERROR, read_json, write_text
from benchmark.sweep.claims import Owner, drop, read
from benchmark.sweep.ends import LIVES, End, add_end, deaths, now, read_ends
from benchmark.sweep.plan import state
from slurm.logs import ending, last_line, last_run

END, REQUEUE, AGAIN = 0, 10, 11  # what the script does next
STOPPED = 75  # exit code of a task that heard the signal (EX_TEMPFAIL of sysexits.h)
LOST = 76  # code of a step that srun called good, of which a task left no result (EX_PROTOCOL)
SIGNALS = range(129, 193)  # exit codes of a process that died by signal 1 to 64
OOM_CODE = 253  # what Slurm makes of a task that its memory limit killed
QUIET_S = 900.0  # without a step, before a task that does not answer a signal is called a hang
RESERVE_S = 120.0  # that must be left of a job to start again in it


@dataclass(frozen=True)
class Job:
    """The job whose script calls: `name` is that of `snapshot.NAMED`, `tries` its starts before."""

    id: str
    name: str
    restarts: int
    tries: int
    since: float
    memory_mb: int
    limit_min: int

    @property
    def left_s(self) -> float:
        """Return the seconds until the time limit, endless where it is not known."""
        end = self.since + 60 * self.limit_min
        return end - time.time() if self.limit_min else float("inf")

    @classmethod
    def current(cls) -> Job:
        """Return the job of this process, from what its script exports and from Slurm."""
        names = os.environ
        memory_mb, limit_min = asked(names["BENCH_JOB"])
        return cls(
            id=names["SLURM_JOB_ID"],
            name=names["BENCH_JOB"],
            restarts=int(names.get("SLURM_RESTART_COUNT", "0")),
            tries=int(names.get("BENCH_TRY", "0")),
            since=float(names.get("BENCH_SINCE", time.time())),
            memory_mb=memory_mb,
            limit_min=limit_min,
        )


def asked(name: str) -> tuple[int, int]:
    """Return (MB of memory, minutes) that Slurm gave a job; 0 where it does not say."""
    try:
        answer = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", name],
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0  # in a container, or with a controller that is away
    memory = re.search(r"\bTRES=\S*?mem=(\d+(?:\.\d+)?)([KMGT])", answer)
    limit = re.search(r"\bTimeLimit=(?:(\d+)-)?(\d+):(\d+):(\d+)", answer)
    units = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
    minutes = 0
    if limit:
        days, hours, mins, _ = (int(part or 0) for part in limit.groups())
        minutes = 1440 * days + 60 * hours + mins
    return round(float(memory[1]) * units[memory[2]]) if memory else 0, minutes


def own_cells(sweep: Path, name: str, task: str) -> list[str]:
    """Return the cells (slugs) of one task of the array called `name` = bench-SWEEP-CHUNK."""
    chunks = read_json(sweep / "plan.json", "submit again")["chunks"]
    return list(chunks[int(name.rpartition("-")[2])][int(task or 0)])


def decide(job: Job, code: int, sweep: Path, slugs: Sequence[str], log: str, limit: int) -> int:
    """Count what died with `code`, and return what the script is to do next.

    `log` is the error log of the run that ended; a cell that the time limit has stopped `limit`
    times already is left to the user.
    """
    runs = sweep.parents[1]
    num_dead, died_again = 0, False
    for folder in (runs / slug for slug in slugs):
        owner = read(folder)
        # a task that ends in order gives its claim back: what is left was held by a dead one
        if owner is None or owner.job != job.id:
            continue
        num_dead += 1
        end = _end(job, code, owner, log)
        ends = add_end(folder, end)
        here = [e for e in ends if (e.job, e.restarts) == (job.id, job.restarts)]
        died_again = died_again or len(here) > 1
        if deaths(ends, job.id) >= LIVES:
            lines = [
                f"its process died {deaths(ends, job.id)} times: {end.reason}",
                "",
                *(f"{e.at} job {e.job} on {e.host}, step {e.step}: {e.reason}" for e in ends),
                f"log: {sweep.relative_to(runs)}/logs/{job.name}_0_log.err",
            ]
            write_text(folder / ERROR, "\n".join(lines) + "\n")
        # the owner is dead, so nobody need wait until its claim is old
        drop(folder, owner)
    # "failed" is over, too: by its third death, or by an error that would come again
    left = [slug for slug in slugs if state(runs / slug) == "todo"]
    if not left:
        return END
    for slug in left:
        ends = read_ends(runs / slug)
        if sum(end.kind == "timeout" and end.job == job.id for end in ends) > limit:
            text = (
                f"timed-out too many times: the time limit has stopped {slug} {limit + 1} times. "
                "Its cells are checkpointed; `run` again continues them.\n"
            )
            write_text(sweep / "note-limit.txt", text)
            return END
    # The signal before a time-out or a preemption: heard (`STOPPED`), or too early to be heard,
    # when it kills. Slurm does not requeue a job that ends by itself in its grace time.
    name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    if code in (STOPPED, 128 + getattr(signal, f"SIG{name}")):
        return REQUEUE
    if not num_dead and job.tries + job.restarts >= LIVES:
        sys.stderr.write(
            f"this job died {LIVES} times before a cell began; it is not tried again\n"
        )
        return END
    if not num_dead and code not in SIGNALS and code not in (OOM_CODE, LOST):
        return END  # an error that it has described itself, such as a missing GPU
    # A cell that dies twice in one place may die of the place: a broken node, too little memory
    # left by others. The first time, the queue would only cost time; but for Slurm a lost step
    # holds what it had, and the allocation has no room for another.
    return REQUEUE if died_again or code == LOST or job.left_s < RESERVE_S else AGAIN


def _end(job: Job, code: int, owner: Owner, log: str) -> End:
    how = ending(log)
    kind = "crash" if how is None or how.kind not in ("oom", "hang", "timeout") else how.kind
    # The step did not answer the signal of the time limit. A long evaluation may be the reason; but
    # not for a quarter of an hour.
    if kind == "timeout" and owner.quiet_s >= QUIET_S:
        kind = "hang"
    if code == OOM_CODE:  # of a cgroup: the log need not say so
        kind = "oom"
    reason = how.reason if how else ""
    if kind == "crash":
        reason = " ".join(filter(None, (signal_name(code), last_line(log))))
    elif kind == "hang":
        reason = f"no training step for {owner.quiet_s / 60:.0f} min; its stack is in the log"
    return End(
        kind=kind,
        reason=reason,
        job=job.id,
        host=owner.host,
        restarts=job.restarts,
        step=owner.step,
        memory_mb=job.memory_mb,
        limit_min=job.limit_min,
        at=now(),
    )


def signal_name(code: int) -> str:
    """Return "Segmentation fault (SIGSEGV)" of the exit code 139, "exit code 1" of 1."""
    if code == LOST:
        return "Slurm lost its step:"
    if code not in SIGNALS:
        return f"exit code {code}"
    try:
        number = signal.Signals(code - 128)
    except ValueError:
        return f"signal {code - 128}"
    return f"{signal.strsignal(number)} ({number.name})"


def main() -> int:
    """Decide for the job of this process; arguments as in the text of the module."""
    sweep, code, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    job = Job.current()
    logs = sorted((sweep / "logs").glob(f"{job.name}_*_log.err"))
    slugs = own_cells(
        sweep, os.environ["SLURM_JOB_NAME"], os.environ.get("SLURM_ARRAY_TASK_ID", "")
    )
    return decide(job, code, sweep, slugs, "\n".join(map(last_run, logs)), limit)


if __name__ == "__main__":
    sys.exit(main())
