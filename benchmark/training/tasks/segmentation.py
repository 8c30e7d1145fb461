"""One class per pixel.

Legend: B images, K classes, S image side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark import backbones
from benchmark.core.registry import InputError
from benchmark.data.base import IGNORE, Card
from benchmark.scores import Predictions, Scores, quick_scores
from benchmark.scores.metrics.overlap import overlap
from benchmark.training.head import Model, Segmenter
from benchmark.training.tasks.base import Arrays, tasks


def soft_dice(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Return 1 - soft Dice (B, K - 1) of the foreground classes (Milletari et al. 2016, eq. 1).

    `logits` (B, K, S, S), `targets` and `counted` (B, S, S). One is added above and below, so that
    an empty class that is not predicted costs nothing.
    """
    probs = logits.softmax(1) * counted[:, None]
    truth = F.one_hot(targets, logits.shape[1]).movedim(-1, 1) * counted[:, None]
    both = (probs * truth).sum((2, 3))[:, 1:]
    either = (probs + truth).sum((2, 3))[:, 1:]
    return 1 - (2 * both + 1) / (either + 1)


@dataclass(frozen=True)
class Segmentation:
    """Dice + cross-entropy on one class per pixel; class 0 is the background."""

    classes: tuple[str, ...]
    metric: str = "dice"

    def weighted(self, weights: tuple[float, ...]) -> Segmentation:
        """Return the task as it is: only one class per image can be weighted."""
        if weights:
            raise InputError("class weights need one class per image")
        return self

    def model(self, body: nn.Module) -> Model:
        """Return `body` under the pyramid head."""
        levels, channels, _ = zip(*backbones.pyramid(body), strict=True)
        return Segmenter(body, levels, channels, len(self.classes))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return cross-entropy plus soft Dice of logits (B, K, S, S) and masks (B, S, S)."""
        pixels, counted, clean = self._entropies(logits, targets)
        entropy = pixels.sum() / counted.sum().clamp(min=1)
        return entropy + soft_dice(logits.float(), clean, counted).mean()

    def reduce(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return class maps and masks (B, S, S) as uint8, and losses (B,) as of single images."""
        pixels, counted, clean = self._entropies(logits, targets)
        entropies = pixels.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)
        losses = entropies + soft_dice(logits.float(), clean, counted).mean(1)
        return {"masks": logits.argmax(1).to(torch.uint8), "truth": targets, "loss": losses}

    def _entropies(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return cross-entropies (B, S, S), which pixels count, and masks without IGNORE."""
        targets = targets.long()
        counted = targets != IGNORE
        clean = torch.where(counted, targets, 0)
        return F.cross_entropy(logits.float(), clean, reduction="none") * counted, counted, clean

    def scores(self, results: Arrays, groups: Sequence[str]) -> Scores:
        """Return the quick scores of volumes."""
        counts = overlap(results["masks"], results["truth"], len(self.classes))
        arrays = counts | {"loss": results["loss"], "volumes": np.asarray(groups)}
        return quick_scores(Predictions(self.classes, arrays))


@tasks.add("segmentation")
def of_card(card: Card, output: str) -> Segmentation:
    """Return the task of a data set of masks."""
    return Segmentation(card.classes)
