"""Checkpoints: everything that a killed or interrupted cell needs to continue as if nothing was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from benchmark.core.files import written
from benchmark.scores import Rank

State = dict[str, Tensor]
EVERY_S = 60.0  # between checkpoints: what a job killed with -9 may lose


class Interrupted(Exception):  # noqa: N818 - like KeyboardInterrupt, this is no error
    """Training was asked to stop; its checkpoint is written."""


class Resumable(Protocol):
    """What a checkpoint is made of: `train.Setup`."""

    @property
    def device(self) -> torch.device:
        """Return where the model is."""
        ...

    @property
    def checkpoint(self) -> Path:
        """Return the file."""
        ...

    @property
    def state(self) -> Callable[[], State]:
        """Return what reads the trained tensors."""
        ...

    @property
    def restore(self) -> Callable[[State], None]:
        """Return what writes them back."""
        ...


@dataclass
class Progress:
    """What a checkpoint holds beside optimiser and weights.

    `losses` are those of the steps since the last evaluation, whose mean the history tells.
    """

    step: int = 0
    best: State = field(default_factory=dict)
    best_rank: Rank = (-math.inf, -math.inf)
    selected_step: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0


class Clock:
    """Counts the seconds of training into `progress`, and says when a checkpoint is due."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.since = time.perf_counter()

    def is_due(self) -> bool:
        """Return whether the last checkpoint is a minute old."""
        return time.perf_counter() - self.since > EVERY_S

    def note(self) -> None:
        """Count the time since the last call."""
        now = time.perf_counter()
        self.progress.seconds += now - self.since
        self.since = now


def save(setup: Resumable, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the checkpoint whole or not at all."""
    values = {"progress": vars(progress), "state": setup.state()}
    with written(setup.checkpoint) as temporary:
        torch.save(values | {"optimizer": optimizer.state_dict()}, temporary)


def resume(setup: Resumable, optimizer: torch.optim.Optimizer) -> Progress:
    """Return the progress of the checkpoint, its state and optimiser restored; else a fresh one."""
    if not setup.checkpoint.exists():
        return Progress()
    values = torch.load(setup.checkpoint, map_location=setup.device, weights_only=True)
    setup.restore(values["state"])
    optimizer.load_state_dict(values["optimizer"])
    return Progress(**values["progress"])
