"""What a task is, and the registry of tasks by the name that cards of data sets give.

Legend: B images, n images of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from benchmark.core.registry import Registry
from benchmark.data.base import Card
from benchmark.scores import Scores
from benchmark.training.head import Model

Arrays = dict[str, np.ndarray]


class Task(Protocol):
    """What differs between kinds of data sets, and nothing else."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        ...

    @property
    def metric(self) -> str:
        """Return the name of the metric that chooses the checkpoint on validation."""
        ...

    def weighted(self, weights: tuple[float, ...]) -> Task:
        """Return the task with the classes weighted in training; () weighs them alike."""
        ...

    def model(self, body: nn.Module) -> Model:
        """Return `body` under a fresh head."""
        ...

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        ...

    def reduce(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return per-image results, small enough to keep for every image."""
        ...

    def scores(self, results: Arrays, groups: Sequence[str]) -> Scores:
        """Return the metrics of the results of a whole split."""
        ...


# From a card and the name of an output ("softmax" or "ordinal") to the task.
tasks: Registry[Callable[[Card, str], Task]] = Registry("task")


def task_of(card: Card, output: str = "softmax") -> Task:
    """Return the task of a data set."""
    return tasks[card.task](card, output)
