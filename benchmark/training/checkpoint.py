"""Checkpoints: everything that a killed or interrupted cell needs to continue as if nothing was."""

from __future__ import annotations

import hashlib
import math
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.core.files import written
from benchmark.scores import Rank

State = dict[str, Tensor]
EVERY_S = 60.0  # between checkpoints: what a job killed with -9 may lose
SHARE = 20  # times as long as the last checkpoint took: saving then costs at most 5 %
QUICK_S = 1.0  # what takes less is written after every evaluation


class Interrupted(Exception):  # noqa: N818 - like KeyboardInterrupt, this is no error
    """Training was asked to stop; its checkpoint is written."""


@dataclass
class Progress:
    """What a checkpoint holds beside optimiser and weights.

    `losses` are those of the steps since the last evaluation, whose mean is in the history.
    `together`: how many cells were trained at once, which share the time. `decays_from` is the step
    from which the rate falls to the end (`schedule.decay_start`), 0 while that is not known.
    `peak_bytes` is the most that a GPU held for the cell in a step of training, 0 elsewhere.
    """

    step: int = 0
    best: State = field(default_factory=dict)
    best_rank: Rank = (-math.inf, -math.inf)
    selected_step: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    together: int = 1
    decays_from: int = 0
    peak_bytes: int = 0


class Clock:
    """Counts the seconds of training into `progress`, and says when a checkpoint is due.

    A checkpoint of `full` on a large network is gigabytes: the time between two grows with what
    the last one took to write, which is no part of the time of training.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.since = self.saved = time.perf_counter()
        self.cost = 0.0

    def is_due(self, *, at_point: bool = False) -> bool:
        """Return whether to save now: `at_point` after an evaluation, else once a minute."""
        age = time.perf_counter() - self.saved
        if at_point and self.cost < QUICK_S:
            return True
        return age > max(0.0 if at_point else EVERY_S, SHARE * self.cost)

    def note(self) -> None:
        """Count the time since the last call."""
        now = time.perf_counter()
        self.progress.seconds += now - self.since
        self.since = now

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time what is done within as a checkpoint, and not as training."""
        self.note()
        yield
        self.saved = time.perf_counter()
        self.cost, self.since = self.saved - self.since, self.saved


def save(path: Path, state: State, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the checkpoint whole or not at all, with the cell's folder and a digest of it all."""
    losses = torch.stack(progress.losses) if progress.losses else torch.zeros(0)
    fields = {**vars(progress), "losses": losses}  # one tensor: each of a list has its own storage
    values = {"progress": fields, "state": state, "optimizer": optimizer.state_dict()}
    frame = {"cell": path.parent.name, "digest": _digest(values)}
    with written(path) as temporary:
        torch.save(frame | values, temporary)


def resume(
    path: Path,
    restore: Callable[[State], None],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> Progress:
    """Return the progress of the checkpoint, its state and optimiser restored; else a fresh one.

    `restore` writes trained tensors back into the model, which is on `device`.

    A checkpoint that is damaged, or of another cell, costs the time that it held: the cell starts
    anew, and says so. It would be damaged at the next attempt as well.
    """
    if not path.exists():
        return Progress()
    try:
        values = _read(path)
    except (*_DAMAGED, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        sys.stderr.write(f"the checkpoint {path} cannot be used ({reason}); the cell starts anew\n")
        return Progress()
    restore(values["state"])
    optimizer.load_state_dict(values["optimizer"])
    losses = list(values["progress"].pop("losses").to(device))
    return Progress(**values["progress"], losses=losses)


# what torch raises for a file that is cut off, flipped, no file, or of another form
_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, AttributeError)


def _read(path: Path) -> dict[str, Any]:
    """Return what the checkpoint holds; one of the errors in `_DAMAGED` where it is not whole."""
    if not path.is_file():
        raise OSError("it is no file")
    values = torch.load(path, map_location="cpu", weights_only=True)
    cell, digest = values.pop("cell"), values.pop("digest")
    if cell != path.parent.name:
        raise ValueError(f"it is of {cell}")
    if digest != _digest(values):
        raise ValueError("its content has changed")
    return dict(values)


def _digest(values: Any) -> str:
    """Return the SHA-256 of nested dictionaries and lists of tensors and plain values."""
    total = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            total.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
            total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            for name, inner in value.items():
                total.update(repr(name).encode())
                add(inner)
        elif isinstance(value, list | tuple):
            total.update(f"{len(value)} items".encode())
            for inner in value:
                add(inner)
        else:
            total.update(repr(value).encode())

    add(values)
    return total.hexdigest()
