"""What runs on a node: one batch of cells in warm processes, stopped and continued by signals."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import submitit
from submitit.core.utils import DelayedSubmission

from benchmark.core.cell import Cell
from benchmark.core.settings import Settings
from slurm.snapshot import START

if TYPE_CHECKING:
    from benchmark.execution.signals import Bell


@dataclass(frozen=True)
class Batch:
    """Cells of one job, called by submitit in each of its tasks.

    The tasks share the list: who claims a cell trains it. A finished cell is skipped, a failed one
    leaves `error.txt` and the others go on. On the signal that announces a time-out or a preemption
    the running cell writes its checkpoint, and the job goes back to the queue.
    """

    cells: tuple[Cell, ...]
    runs: Path
    sweep: Path
    sources: dict[str, str]
    settings: Settings = field(default_factory=Settings)

    def __call__(self) -> dict[str, int]:
        """Train the cells and return how many ended in which way."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # a node must not depend on a network
        import torch

        from benchmark.execution.inline import Listener, inline
        from benchmark.execution.signals import Bell
        from benchmark.execution.workers import device_of
        from benchmark.training.checkpoint import Interrupted
        from benchmark.training.session import Session

        environment = submitit.JobEnvironment()
        torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
        device = device_of(environment.local_rank, torch.cuda.device_count())
        halvings = memory_deaths(batch_log(environment.paths.stderr))
        session = Session(
            self.runs / "cache",
            self.sources,
            torch.device(device),
            halvings=halvings,
            settings=self.settings,
        )
        rank = environment.global_rank % len(self.cells)
        turned = [*self.cells[rank:], *self.cells[:rank]]
        counts = dict.fromkeys(("done", "n/a", "failed"), 0)
        # submitit's own handler would pickle in the middle of a step; it is called afterwards
        with Bell(getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")) as bell:
            try:
                listener = Listener(bell.check, bell.answer)
                for outcome in inline(turned, session, self.runs, listener, waits=is_ours):
                    counts[outcome.state] += 1
                    note(f"{outcome.state} {outcome.cell.slug} {outcome.reason}")
            except Interrupted:
                requeue(bell, self.sweep)
        return counts

    def checkpoint(self) -> DelayedSubmission:
        """Return what the requeued job runs: the same, which skips what is finished."""
        return DelayedSubmission(self)


def note(text: str) -> None:
    """Write a line to the log of the job."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def memory_deaths(log: Path) -> int:
    """Return how often earlier runs of this job were killed for memory, as its error log says.

    A death may have several lines; every run begins with `snapshot.START`.
    """
    text = log.read_text(errors="replace") if log.exists() else ""
    runs = re.split(rf"(?m)^{START} \d+$", text)
    found = r"oom[-_]kill|exceeded memory limit|Out Of Memory"
    return min(5, sum(bool(re.search(found, run)) for run in runs))


def batch_log(log: Path) -> Path:
    """Return the log that tells what Slurm says: that of the first task."""
    return log.with_name(re.sub(r"_\d+_log", "_0_log", log.name))


def is_ours(folder: Path) -> bool:
    """Return whether a task of this very job trains the cell: then the job must outlive it."""
    from benchmark.sweep.claims import read

    claim = read(folder)
    return claim is not None and str(claim["job"]).startswith(f"{os.environ['SLURM_JOB_ID']}.")


def requeue(bell: Bell, sweep: Path) -> None:
    """Send the job back to the queue and end the process; only the first task can.

    Raises:
        UncompletedJobError: the job was requeued too often. `note-limit.txt` in the sweep says so.
    """
    assert bell.heard is not None
    try:
        bell.before[0](*bell.heard)
    except submitit.core.utils.UncompletedJobError as error:
        text = f"{error} Its cells are checkpointed; `run` again continues them.\n"
        (sweep / "note-limit.txt").write_text(text)
        raise
    time.sleep(600)  # another task than the first: Slurm ends it with the job
