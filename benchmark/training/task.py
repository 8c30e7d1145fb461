"""Tasks: head, loss, scores, and which metric selects the checkpoint.

Legend: B images, n images of a split, K classes, S image side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark import backbones
from benchmark.data.base import IGNORE, Card
from benchmark.scores import Predictions, Scores, quick_scores
from benchmark.scores.metrics.overlap import overlap
from benchmark.training import head

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

    def model(self, body: nn.Module) -> nn.Module:
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


def soft_dice(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Return 1 - soft Dice, mean over images and foreground classes (Milletari et al. 2016, eq. 1).

    `logits` (B, K, S, S), `targets` and `counted` (B, S, S). One is added above and below, so that
    an empty class that is not predicted costs nothing.
    """
    probs = logits.softmax(1) * counted[:, None]
    truth = F.one_hot(targets, logits.shape[1]).movedim(-1, 1) * counted[:, None]
    both = (probs * truth).sum((2, 3))[:, 1:]
    either = (probs + truth).sum((2, 3))[:, 1:]
    return (1 - (2 * both + 1) / (either + 1)).mean()


@dataclass(frozen=True)
class Classification:
    """Cross-entropy on one label per image, its classes weighted in training if `weights` say."""

    classes: tuple[str, ...]
    metric: str
    output: str = "softmax"
    weights: tuple[float, ...] = ()

    def model(self, body: nn.Module) -> nn.Module:
        """Return `body` under a linear classifier."""
        return head.OUTPUTS[self.output](body, body.num_features, len(self.classes))  # type: ignore[arg-type]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,)."""
        if not self.weights:
            return F.cross_entropy(logits.float(), targets)
        # divided by B and not by the weights of the batch: micro-batches then add up
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        return (each * each.new_tensor(self.weights)[targets]).mean()

    def reduce(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return probabilities (B, K), labels and losses (B,)."""
        logits = logits.float()
        loss = F.cross_entropy(logits, targets, reduction="none")
        return {"probs": logits.softmax(1), "labels": targets, "loss": loss}

    def scores(self, results: Arrays, groups: Sequence[str]) -> Scores:
        """Return the quick scores of one class per image."""
        return quick_scores(Predictions(self.classes, results))


@dataclass(frozen=True)
class MultiLabel:
    """Binary cross-entropy on any number of findings per image; AUC selects."""

    classes: tuple[str, ...]
    metric: str = "auc"

    def model(self, body: nn.Module) -> nn.Module:
        """Return `body` under a linear layer with one output per finding."""
        return head.Classifier(body, body.num_features, len(self.classes))  # type: ignore[arg-type]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of logits (B, K) and bit sets (B,)."""
        return self._losses(logits, targets).mean()

    def reduce(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return probabilities (B, K), findings (B, K) of 0 and 1, and losses (B,)."""
        loss = self._losses(logits, targets).mean(1)
        labels = self._findings(targets).to(torch.uint8)
        return {"probs": logits.float().sigmoid(), "labels": labels, "loss": loss}

    def scores(self, results: Arrays, groups: Sequence[str]) -> Scores:
        """Return the quick scores of findings."""
        return quick_scores(Predictions(self.classes, results))

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        truth = self._findings(targets).float()
        return F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")

    def _findings(self, targets: Tensor) -> Tensor:
        return targets[:, None] >> torch.arange(len(self.classes), device=targets.device) & 1


@dataclass(frozen=True)
class Segmentation:
    """Dice + cross-entropy on one class per pixel; class 0 is the background."""

    classes: tuple[str, ...]
    metric: str = "dice"

    def model(self, body: nn.Module) -> nn.Module:
        """Return `body` under the pyramid head."""
        levels, channels = zip(*[(i, c) for i, c, _ in backbones.pyramid(body)], strict=True)
        return head.Segmenter(body, levels, channels, len(self.classes))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return cross-entropy plus soft Dice of logits (B, K, S, S) and masks (B, S, S)."""
        logits, targets = logits.float(), targets.long()
        counted = targets != IGNORE
        clean = torch.where(counted, targets, 0)
        pixels = F.cross_entropy(logits, clean, reduction="none")
        entropy = (pixels * counted).sum() / counted.sum().clamp(min=1)
        return entropy + soft_dice(logits, clean, counted)

    def reduce(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return class maps and masks (B, S, S) as uint8, and losses (B,)."""
        losses = [self.loss(x[None], t[None]) for x, t in zip(logits, targets, strict=True)]
        masks = logits.argmax(1).to(torch.uint8)
        return {"masks": masks, "truth": targets, "loss": torch.stack(losses)}

    def scores(self, results: Arrays, groups: Sequence[str]) -> Scores:
        """Return the quick scores of volumes."""
        counts = overlap(results["masks"], results["truth"], len(self.classes))
        arrays = counts | {"loss": results["loss"], "volumes": np.asarray(groups)}
        return quick_scores(Predictions(self.classes, arrays))


def task_of(card: Card, output: str = "softmax") -> Task:
    """Return the task of a data set; kappa selects where classes are ordered grades."""
    if card.task == "segmentation":
        return Segmentation(card.classes)
    if card.task == "multilabel":
        return MultiLabel(card.classes)
    return Classification(card.classes, "kappa" if card.ordinal else "balanced_accuracy", output)
