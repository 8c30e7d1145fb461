"""Training cells that others may train as well: claims, memory, one failure at a time.

The same for a run in this process, in local workers and in a Slurm job.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.core.cell import Cell
from benchmark.core.files import ERROR, write_text
from benchmark.core.record import RECORD, Record, read_record
from benchmark.core.registry import DeviceLost, InputError
from benchmark.sweep.claims import claimed
from benchmark.training.checkpoint import Interrupted
from benchmark.training.memory import is_device_lost, is_out_of_memory
from benchmark.training.run import Listener, run
from benchmark.training.session import Session


class Lost(Interrupted):
    """Somebody took the cell over, because this process looked dead; it is theirs now."""


@dataclass(frozen=True)
class Outcome:
    """How one cell ended: "done", "n/a", "failed" (with the reason) or "taken" by somebody else."""

    cell: Cell
    state: str
    reason: str = ""
    record: Record | None = None


def train(
    cell: Cell, session: Session, runs: Path, on_step: Listener = lambda step: None
) -> Outcome:
    """Train one cell unless it is done or taken, and return how it ended.

    A failure is an outcome: the cells beside it go on.

    Raises:
        Interrupted: `on_step` answered true.
        DeviceLost: no later cell of this process could be trained.
    """
    try:
        return _claimed(cell, session, runs, on_step)
    except InputError as error:  # a full disk, a colleague's folder: the next one may be another's
        return Outcome(cell, "failed", str(error))


def _claimed(cell: Cell, session: Session, runs: Path, on_step: Listener) -> Outcome:
    """Train one cell under a claim; see `train`."""
    with claimed(cell.folder(runs)) as claim:
        if claim is None:
            return Outcome(cell, "taken")

        def beat(step: int) -> object:
            if not claim.beat(step, cell.steps):
                raise Lost(f"{cell.slug} was taken over")
            return on_step(step)

        try:
            record = _within_memory(cell, session, runs, beat)
        except Lost:
            return Outcome(cell, "taken")
        except Interrupted:
            raise
        except (Exception, SystemExit) as error:  # a method of the user's may call `exit`
            reason = " ".join(str(error).split()) or type(error).__name__
            if is_device_lost(error):  # a worker is replaced; what is left is to do next time
                raise DeviceLost(
                    f"the GPU was lost in {cell.slug} ({reason}); this process ends, and the same "
                    "command goes on with the cells that are left"
                ) from error
            return Outcome(cell, "failed", reason)
    return Outcome(cell, "n/a" if record is None else "done", record=record)


def finished(cell: Cell, runs: Path) -> Outcome | None:
    """Return the outcome of a cell that somebody has finished, or that nobody here can read."""
    path = cell.folder(runs) / RECORD
    try:
        return Outcome(cell, "done", "elsewhere", read_record(path)) if path.exists() else None
    except OSError as error:
        reason = f"cannot read {str(path.parent)!r} ({error.strerror})"
        return Outcome(cell, "failed", reason)
    except InputError as error:
        return Outcome(cell, "failed", str(error))


def _within_memory(cell: Cell, session: Session, runs: Path, on_step: Listener) -> Record | None:
    """Train; when memory runs out, go on from the checkpoint with half as many images at once.

    Before that, what lies on a GPU only so that cells are faster is given up. The effective batch
    stays what the cell says; the record's cost tells `micro_batch`.

    Raises:
        InputError: not even one image fits.
    """
    micro_batch = max(1, cell.batch_size >> session.halvings)
    card_share = session.card_share
    try:
        while True:
            try:
                return run(cell, session, runs, on_step, micro_batch=micro_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                session.card_share = 0.0  # until this cell is done
                cleared = session.clear_card(cell)
                if micro_batch == 1 and not cleared:
                    raise _too_small(cell, runs) from error
            micro_batch = micro_batch if cleared else -(-micro_batch // 2)
            sys.stderr.write(
                f"out of memory: {cell.slug} goes on with {micro_batch} images at once"
                f"{', its images off the GPU' if cleared else ''}\n"
            )
            if session.device.type == "cuda":
                torch.cuda.empty_cache()
    finally:
        session.card_share = card_share


def _too_small(cell: Cell, runs: Path) -> InputError:
    """Return why the cell cannot be trained here, and write it before what was told so far."""
    reason = (
        f"memory does not hold one image of {cell.image_size} px in {cell.method} of "
        f"{cell.backbone}; take a smaller --image-size or --backbones"
    )
    path = cell.folder(runs) / ERROR
    told = path.read_text() if path.exists() else ""
    write_text(path, f"{reason}\n\n{told}")
    return InputError(reason)
