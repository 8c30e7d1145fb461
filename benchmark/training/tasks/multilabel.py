"""Any number of findings per image.

Legend: B images, K findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.registry import InputError
from benchmark.data.base import Card
from benchmark.scores import Predictions, Scores, quick_scores
from benchmark.training.head import Classifier, Model
from benchmark.training.tasks.base import Arrays, tasks
from methods.parts.backbone import as_backbone


@dataclass(frozen=True)
class MultiLabel:
    """Binary cross-entropy on any number of findings per image; AUC selects."""

    classes: tuple[str, ...]
    metric: str = "auc"

    def weighted(self, weights: tuple[float, ...]) -> MultiLabel:
        """Return the task as it is: only one class per image can be weighted."""
        if weights:
            raise InputError("class weights need one class per image")
        return self

    def model(self, body: nn.Module) -> Model:
        """Return `body` under a linear layer with one output per finding."""
        return Classifier(body, as_backbone(body).num_features, len(self.classes))

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


@tasks.add("multilabel")
def of_card(card: Card, output: str) -> MultiLabel:
    """Return the task of a data set of findings."""
    return MultiLabel(card.classes)
