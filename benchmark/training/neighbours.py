"""k-nearest neighbours on frozen features: a control that trains nothing.

Legend: B images, n training images, D features, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.training.checkpoint import Progress
from benchmark.training.fit import EVAL_BATCH, Setup, evaluate
from benchmark.training.subset import Subset

TEMPERATURE = 0.07  # as in DINO


class Memory(nn.Module):
    """The features (n, D) and labels (n,) of the training images."""

    def __init__(self, num_features: int, num_classes: int, k: int) -> None:
        super().__init__()
        self.num_classes, self.k = num_classes, k
        self.register_buffer("features", torch.zeros(1, num_features))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Return log-probabilities (B, K): votes of the k nearest, weighted by exp(cosine / T)."""
        close = F.normalize(features.float(), dim=1) @ self.features.T  # type: ignore[operator]
        similarity, rows = close.topk(min(self.k, close.shape[1]), 1)
        votes = F.one_hot(self.labels[rows], self.num_classes)  # type: ignore[index]
        weights = (similarity / TEMPERATURE).softmax(1)
        shares = (weights[..., None] * votes).sum(1)
        return ((shares + 1e-6) / (1 + 1e-6 * self.num_classes)).log()

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Take the shapes of the buffers in `state`, so that they can be loaded."""
        for name in ("features", "labels"):
            if name in state:
                setattr(self, name, torch.empty_like(state[name], device=self.labels.device))  # type: ignore[arg-type]


class Neighbours(nn.Module):
    """`body(x)` (B, D) and the votes of its nearest training images (Caron et al. 2021, DINO)."""

    def __init__(self, body: nn.Module, num_features: int, num_classes: int, k: int) -> None:
        super().__init__()
        self.body = body
        self.head = Memory(num_features, num_classes, k)

    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities (B, K) of `images` (B, 3, S, S)."""
        return self.head(self.body(images))


def memorize(setup: Setup, train: Subset, val: Subset, steps: int) -> Progress:
    """Store the features of the training images, score validation, and return the progress."""
    started, memory = time.perf_counter(), setup.model.head
    assert isinstance(memory, Memory)
    setup.model.eval()
    parts, labels = [], []
    with torch.inference_mode():
        for start in range(0, len(train), EVAL_BATCH):
            positions = np.arange(start, min(start + EVAL_BATCH, len(train)))
            images, targets = train.load(positions, setup.device)
            features = setup.model.body(setup.normalize(images))  # type: ignore[operator]
            parts.append(F.normalize(features.float(), dim=1))
            labels.append(targets)
    memory.features, memory.labels = torch.cat(parts).clone(), torch.cat(labels).clone()
    scores = setup.task.scores(evaluate(setup, val), val.units)
    point: dict[str, float | None] = {"step": steps, "train_loss": None}
    point |= {f"val_{name}": value for name, value in scores.items()}
    progress = Progress(step=steps, selected_step=steps, history=[point], best=setup.state())
    progress.seconds = time.perf_counter() - started
    return progress
