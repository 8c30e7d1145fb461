"""One class per image; kappa selects where classes are ordered grades.

Legend: B images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.base import Card
from benchmark.scores import Predictions, Scores, quick_scores
from benchmark.training.head import OUTPUTS, Model
from benchmark.training.tasks.base import Arrays, tasks
from methods.parts.backbone import as_backbone


@dataclass(frozen=True)
class Classification:
    """Cross-entropy on one label per image, its classes weighted in training if `weights` say."""

    classes: tuple[str, ...]
    metric: str
    output: str = "softmax"
    weights: tuple[float, ...] = ()

    def weighted(self, weights: tuple[float, ...]) -> Classification:
        """Return the task with these weights of the classes."""
        return replace(self, weights=weights)

    def model(self, body: nn.Module) -> Model:
        """Return `body` under a linear classifier."""
        return OUTPUTS[self.output](body, as_backbone(body).num_features, len(self.classes))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,)."""
        if not self.weights:
            return F.cross_entropy(logits.float(), targets)
        # divided by B and not by the weights of the batch: micro-batches then add up
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        return (each * _constant(self.weights, each.device)[targets]).mean()

    def reduce(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return probabilities (B, K), labels and losses (B,)."""
        logits = logits.float()
        loss = F.cross_entropy(logits, targets, reduction="none")
        return {"probs": logits.softmax(1), "labels": targets, "loss": loss}

    def scores(self, results: Arrays, groups: Sequence[str]) -> Scores:
        """Return the quick scores of one class per image."""
        return quick_scores(Predictions(self.classes, results))


@lru_cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return `values` on the device: a copy in each step would wait for all kernels before it."""
    return torch.tensor(values, device=device)


@tasks.add("classification")
def of_card(card: Card, output: str) -> Classification:
    """Return the task of a data set with one class per image."""
    metric = "kappa" if card.ordinal else "balanced_accuracy"
    return Classification(card.classes, metric, output)
