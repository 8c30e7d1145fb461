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

from benchmark.training import memory
from benchmark.training.checkpoint import Progress
from benchmark.training.fit import Setup, evaluate
from benchmark.training.head import Model
from benchmark.training.source import Source

TEMPERATURE = 0.07  # as in DINO


class Memory(nn.Module):
    """The features (n, D) and labels (n,) of the training images, of which the `k` nearest vote."""

    features: Tensor
    labels: Tensor

    def __init__(self, num_features: int, num_classes: int, k: int) -> None:
        super().__init__()
        self.num_classes, self.k = num_classes, k
        self.register_buffer("features", torch.zeros(1, num_features))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Return log-probabilities (B, K): votes of the k nearest, weighted by exp(cosine / T)."""
        close = F.normalize(features.float(), dim=1) @ self.features.T
        similarity, rows = close.topk(min(self.k, close.shape[1]), 1)
        votes = F.one_hot(self.labels[rows], self.num_classes)
        weights = (similarity / TEMPERATURE).softmax(1)
        shares = (weights[..., None] * votes).sum(1)
        return ((shares + 1e-6) / (1 + 1e-6 * self.num_classes)).log()

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Take the shapes of the buffers in `state`, so that they can be loaded."""
        for name in ("features", "labels"):
            if name in state:
                setattr(self, name, torch.empty_like(state[name], device=self.labels.device))


class Neighbours(Model):
    """The votes of the nearest training images (Caron et al. 2021, DINO): log-probabilities (B, K).

    Similarities are taken in single precision: in bfloat16 the twenty nearest of an image share a
    handful of values, and the device breaks the ties.
    """

    head: Memory

    def __init__(self, body: nn.Module, num_features: int, num_classes: int, k: int) -> None:
        super().__init__(body, Memory(num_features, num_classes, k))


def memorize(setup: Setup, train: Source, val: Source, steps: int) -> Progress:
    """Store the features of the training images, score validation, and return the progress."""
    started, model = time.perf_counter(), setup.model
    assert isinstance(model.head, Memory)

    def features(positions: np.ndarray) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(), setup.autocast():
            inputs, labels = train.still(positions, setup.device)
            return F.normalize(model.encode(inputs)[0].float(), dim=1), labels

    model.eval()
    chunks = memory.chunks(setup.device, fixed=True)  # the peak must not depend on what is free
    found = zip(*chunks.map(len(train), features), strict=True)
    model.head.features, model.head.labels = (torch.cat(parts).clone() for parts in found)
    peak = setup.peak_bytes()
    scores = setup.task.scores(evaluate(setup, val), val.units)
    point: dict[str, float | None] = {"step": steps, "train_loss": None}
    point |= {f"val_{name}": value for name, value in scores.items()}
    # no step was taken; the point stands at the end, beside those of what was trained
    progress = Progress(selected_step=steps, history=[point], best=setup.state(), peak_bytes=peak)
    progress.seconds = time.perf_counter() - started
    return progress
