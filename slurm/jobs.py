"""What runs on a node: one batch of cells in warm processes, stopped by signals and continued.

A job is a script that starts one step of so many tasks (`Batch`, pickled by submitit), and asks
`slurm.recovery` what to do when the step ends with another exit code than 0. The signal before a
time-out or a preemption has each task write a checkpoint and end with `STOPPED`; the script then
sends the job back to the queue.

No torch is imported before the handler of that signal is set: to import it takes a minute from a
cold network disk, and a signal without a handler kills.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import submitit

from benchmark.core.cell import Cell
from benchmark.core.files import ENDS, ERROR
from benchmark.core.registry import DeviceLost, InputError
from benchmark.core.settings import Settings
from benchmark.sweep.claims import job_id, read, take
from benchmark.sweep.ends import End, add_end, deaths, now, read_ends
from benchmark.sweep.plan import state
from slurm.logs import START
from slurm.recovery import STOPPED

if TYPE_CHECKING:
    from benchmark.execution.one import Outcome

DISK_S, DISK_POLL_S = 1800.0, 20.0  # how long a full disk is waited for, and how often tried
REARM_S = 5.0  # between two times that the clock of a hang is set back
MAX_HALVINGS = 5


@dataclass(frozen=True)
class Batch:
    """Cells of one job, called by submitit in each of its tasks.

    The tasks share the list: who claims a cell trains it. A finished cell is skipped, a failed one
    leaves `error.txt` and the others go on. Cells whose process died before go last, so that the
    others are done by the time it dies again. `limit_min` is the time limit of the job; a task that
    ends no step for `hang_min` is ended with its stack in the log, 0: never.
    """

    cells: tuple[Cell, ...]
    runs: Path
    sweep: Path
    sources: dict[str, str]
    settings: Settings = field(default_factory=Settings)
    gpus: int = 0
    limit_min: int = 0
    hang_min: int = 0

    def __call__(self) -> dict[str, int]:
        """Train the cells and return how many ended in which way.

        Raises:
            SystemExit: with `STOPPED`, for a job that goes back to the queue; with 1, for a GPU
                that was lost.
            InputError: a GPU was asked for and torch sees none; the disk stays full.
        """
        stop_signal = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
        # Nothing is trained yet, so there is nothing to save. submitit has set its own handler,
        # which would pickle this object again in the middle of whatever runs.
        signal.signal(stop_signal, lambda *_: os._exit(STOPPED))
        environment = submitit.JobEnvironment()
        if environment.global_rank:  # the log of the first task has this line from the script
            sys.stderr.write(f"{START}, task {environment.global_rank}\n")
        os.environ["HF_HUB_OFFLINE"] = "1"  # a node must not depend on a network
        import torch

        from benchmark.execution.inline import Hooks, inline
        from benchmark.execution.signals import Bell
        from benchmark.execution.workers import device_of, num_gpus, take_slice
        from benchmark.training.checkpoint import Interrupted
        from benchmark.training.session import Session, has_bfloat16

        self._check_gpus(num_gpus())
        take_slice(environment.local_rank)
        torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
        device = device_of(environment.local_rank, torch.cuda.device_count())
        try:
            session = Session(
                self.runs / "cache", self.sources, torch.device(device), settings=self.settings
            )
        except InputError as error:  # a card that this torch has no kernels for
            raise self._refused(str(error)) from None
        if session.device.type == "cuda" and not has_bfloat16(session.device):
            self._note_emulation(torch.cuda.get_device_name(session.device))
        watch = HangClock(60.0 * self.hang_min)
        current: list[Cell] = []
        with Bell(stop_signal) as bell:

            def start(cell: Cell) -> None:
                bell.check(cell)
                current[:] = [cell]
                # memory of the host is not given back by an exception, as that of a GPU is: the
                # process was killed, and the next one takes half as many images at once
                ends = read_ends(cell.folder(self.runs))
                ooms = sum(end.kind == "oom" and end.job == job_id() for end in ends)
                session.halvings = min(MAX_HALVINGS, ooms)
                watch.rearm()

            def step(steps: int) -> bool:
                watch.rearm()
                return bell.answer(steps)

            hooks = Hooks(start, step)
            try:
                return self._train(
                    self._in_order(environment.global_rank),
                    lambda cells: inline(cells, session, self.runs, hooks, waits=is_ours),
                    watch,
                )
            except Interrupted:
                self._note_stop(current)
                # An exit code, not an exception: submitit would write that the job has failed.
                # Every task ends like this, also those that another one died beside.
                raise SystemExit(STOPPED) from None
            except DeviceLost as error:
                leave_as_dead(current[0].folder(self.runs), f"error: {error}")
                raise SystemExit(1) from None
            finally:
                watch.stop()

    def _train(
        self,
        left: list[Cell],
        train: Callable[[Sequence[Cell]], Iterator[Outcome]],
        watch: HangClock,
    ) -> dict[str, int]:
        """Have cells trained, and again those for which the disk was full; return the counts."""
        counts = dict.fromkeys(("done", "n/a", "failed"), 0)
        patience = DISK_S
        while left:  # usually one round
            full: list[Cell] = []
            ended: set[Cell] = set()
            try:
                for outcome in train(left):
                    if outcome.state == "failed" and is_full(outcome.reason) and patience:
                        full.append(outcome.cell)
                        continue
                    ended.add(outcome.cell)
                    counts[outcome.state] += 1
                    if outcome.state == "done":  # its deaths are of no interest any more
                        (outcome.cell.folder(self.runs) / ENDS).unlink(missing_ok=True)
                    write_line(f"{outcome.state} {outcome.cell.slug} {outcome.reason}")
            except InputError as error:  # not even a claim can be written
                if not (is_full(str(error)) and patience):
                    raise
                full = [cell for cell in left if cell not in ended]
            left = full
            # as long as cells end, somebody makes room now and then
            patience = DISK_S if ended else max(0.0, patience - DISK_POLL_S)
            if left:
                write_line("the disk is full; trying again in 20 s")
                watch.stop()
                time.sleep(DISK_POLL_S)
        return counts

    def _check_gpus(self, seen: int) -> None:
        """Refuse to train on the CPU what asked for GPUs: it would crawl for days."""
        if seen < self.gpus:
            raise self._refused(
                f"{self.gpus} GPUs were asked for and torch sees {seen}: its driver does not fit "
                "this torch, or --slurm does not ask Slurm for them"
            )

    def _refused(self, reason: str) -> InputError:
        """Return why this node trains nothing, once `status` knows it."""
        text = f"{os.uname().nodename}: {reason}; nothing was trained"
        self._note("gpu", text)
        return InputError(text)

    def _note_emulation(self, card: str) -> None:
        """Tell `status` of cells in bfloat16 on a card that has none: they take much longer.

        They stay what they are: the card computes the same, and a record names it.
        """
        if any(cell.precision == "bf16" for cell in self.cells):
            text = (
                f"{os.uname().nodename}: {card} emulates bfloat16, several times slower than "
                "float32; ask Slurm for newer cards, or plan other cells with --precision fp32"
            )
            self._note("bfloat16", text)
            sys.stderr.write(f"{text}\n")

    def _note(self, about: str, text: str) -> None:
        """Leave a sentence beside the plan, where `status` finds it."""
        with suppress(OSError):
            (self.sweep / f"note-{about}.txt").write_text(f"{text}\n")

    def _in_order(self, rank: int) -> list[Cell]:
        """Return the cells in the order of one task: each begins elsewhere, bad ones are last.

        What has failed has failed in an earlier run of this job: it is not tried again in it.
        """
        first = rank % len(self.cells)
        turned = [*self.cells[first:], *self.cells[:first]]
        left = [cell for cell in turned if state(cell.folder(self.runs)) != "failed"]
        return sorted(left, key=lambda cell: deaths(read_ends(cell.folder(self.runs))))

    def _note_stop(self, current: Sequence[Cell]) -> None:
        """Write down that the time limit has stopped the cell in training, if it was the limit.

        The signal does not say. A job that had less than ten minutes, or a fifth of its time, left
        was at its limit; before that it was preempted, which may happen any number of times.
        """
        limit = 60.0 * self.limit_min
        ran = time.time() - float(os.environ.get("BENCH_SINCE", "0"))
        if current and limit and ran >= min(0.8 * limit, limit - 600):
            end = End("timeout", "stopped by the time limit", job=job_id(),
                      limit_min=self.limit_min, at=now())  # fmt: skip
            # on a full disk the job must go back to the queue all the same
            with suppress(OSError, InputError):
                add_end(current[0].folder(self.runs), end)


def write_line(text: str) -> None:
    """Write a line to the log of this task; a full disk does not matter here."""
    with suppress(OSError):
        sys.stdout.write(f"{now()} {text}\n")
        sys.stdout.flush()


def leave_as_dead(folder: Path, reason: str) -> None:
    """Leave a cell like one whose process was killed: the script counts that, and tries it again.

    A node may have lost its GPU without any fault of the cell. `recovery` knows the cell by the
    claim that outlives its process, and the reason by the end of the log.
    """
    with suppress(OSError, InputError):
        told = (folder / ERROR).read_text()
        (folder / ERROR).unlink()  # it would say that the cell has failed for good
        sys.stderr.write(told)
    with suppress(InputError):
        take(folder)
    sys.stderr.write(f"{reason}\n")


class HangClock:
    """Ends this process, with the stacks of all its threads in the log, when no step ends for long.

    `faulthandler` waits in a thread of C, so that it also ends a process that is stuck in a call
    of a library which never gives the interpreter back: such a thread of Python would not run.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._set = 0.0

    def rearm(self) -> None:
        """Begin to wait anew; called after every step, so not each call starts a thread."""
        if self.seconds and time.monotonic() - self._set > min(REARM_S, self.seconds / 2):
            self._set = time.monotonic()
            faulthandler.dump_traceback_later(self.seconds, exit=True)

    def stop(self) -> None:
        """Wait no more."""
        self._set = 0.0
        faulthandler.cancel_dump_traceback_later()


def is_ours(folder: Path) -> bool:
    """Return whether a task of this very job trains the cell: then the job must outlive it."""
    owner = read(folder)
    return owner is not None and owner.job == job_id() != ""


def is_full(reason: str) -> bool:
    """Return whether something failed because the disk is full, which may pass."""
    return "No space left" in reason or "quota exceeded" in reason
