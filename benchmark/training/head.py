"""Task heads: the same for every method, always trained, counted apart from the method.

Legend: B images, D pooled features, K classes, S image side, C_l channels of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.registry import InputError, unknown
from methods import families
from methods.parts.backbone import Backbone, as_backbone

WIDTH = 128  # channels of the pyramid head


class Model(nn.Module):
    """A body under a head: what training, evaluation and prediction know of a model.

    `encode` gives what the head reads, `decide` the logits of that: between the two lies what can
    be kept of a frozen body (`benchmark.training.kept`).
    """

    body: Backbone
    head: nn.Module

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = as_backbone(body)
        self.head = head

    def encode(self, images: Tensor) -> Sequence[Tensor]:
        """Return what the head reads of `images` (B, 3, S, S): the features (B, D)."""
        return [self.body(images)]

    def compilable(self) -> list[nn.Module]:
        """Return what is worth compiling: the blocks, or the whole where none is known."""
        return families.blocks(self.body) or [self]

    def decide(self, features: Sequence[Tensor], side: int) -> Tensor:
        """Return the logits of what `encode` returned for images of this side."""
        with full_precision(features[0]):
            logits: Tensor = self.head(widened(features[0]))
            return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of `images` (B, 3, S, S)."""
        return self.decide(self.encode(images), images.shape[-1])


def full_precision(x: Tensor) -> torch.autocast:
    """Return the context in which autocast leaves the last layer alone.

    It is cheap, and in bfloat16 its logits have three digits: probabilities would fall on a grid
    that calibration sees.
    """
    return torch.autocast(x.device.type, enabled=False)


def widened(x: Tensor) -> Tensor:
    """Return `x` in at least single precision."""
    return x.float() if x.element_size() < 4 else x


class Classifier(Model):
    """A linear layer on the pooled features (B, D): logits (B, K)."""

    def __init__(self, body: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__(body, nn.Linear(num_features, num_classes))


class OrdinalClassifier(Classifier):
    """`body(x)` (B, D) and K - 1 continuation ratios: log-probabilities (B, K) of ordered grades.

    P(y > k | y >= k) = sigmoid(l_k), so P(y = c) = (1 - sigmoid(l_c)) prod_{k < c} sigmoid(l_k)
    (Fienberg 1980; as a loss for networks: Shi et al. 2021, arXiv:2111.08851, CORN).
    """

    def __init__(self, body: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__(body, num_features, num_classes - 1)

    def decide(self, features: Sequence[Tensor], side: int) -> Tensor:
        """Return log-probabilities (B, K) of what `encode` returned."""
        ratios = super().decide(features, side)
        passed = F.logsigmoid(ratios).cumsum(1)  # log P(y > k)
        stopped = F.logsigmoid(-ratios)
        before = F.pad(passed, (1, 0))
        return torch.cat([before[:, :-1] + stopped, before[:, -1:]], 1)


OUTPUTS = {"softmax": Classifier, "ordinal": OrdinalClassifier}


def check_output(name: str, ordinal: bool) -> None:
    """Raise InputError for an unknown output, or grades where the classes have no order."""
    if name not in OUTPUTS:
        raise unknown("output", name, OUTPUTS)
    if name == "ordinal" and not ordinal:
        raise InputError("output 'ordinal' needs classes with an order, such as grades")


class PyramidHead(nn.Module):
    """A light decoder: norm and 1x1 convolution per level, sum, 3x3 and 1x1 convolution.

    `channels` are the C_l of the levels.
    Levels are layer-normed over channels first, because raw residual streams differ in scale
    between backbones by orders of magnitude.
    """

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, c) for c in channels)
        self.laterals = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in channels)
        self.smooth = nn.Conv2d(WIDTH, WIDTH // 2, 3, padding=1)
        self.classify = nn.Conv2d(WIDTH // 2, num_classes, 1)

    def forward(self, levels: Sequence[Tensor], side: int) -> Tensor:
        """Return logits (B, K, side, side) from `levels` of (B, C_l, h_l, w_l)."""
        # a quarter of the image, or as large as the first level: a U-Net's is the image's own size
        size = [max(side // 4, levels[0].shape[-1])] * 2
        parts = zip(self.norms, self.laterals, levels, strict=True)
        maps = [
            F.interpolate(conv(norm(x)), size, mode="bilinear", align_corners=False)
            for norm, conv, x in parts
        ]
        hidden = F.gelu(self.smooth(F.gelu(torch.stack(maps).sum(0))))
        with full_precision(hidden):
            logits = self.classify(widened(hidden))
        return F.interpolate(logits, [side, side], mode="bilinear", align_corners=False)


class Segmenter(Model):
    """The body's own feature pyramid under a `PyramidHead`.

    `levels` are the places of its maps in `forward_intermediates`, `channels` their C_l.
    """

    head: PyramidHead

    def __init__(
        self, body: nn.Module, levels: Sequence[int], channels: Sequence[int], num_classes: int
    ) -> None:
        super().__init__(body, PyramidHead(channels, num_classes))
        self.levels = list(levels)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return what the head reads: levels of (B, C_l, h_l, w_l) of `images` (B, 3, S, S)."""
        return self.body.forward_intermediates(
            images, indices=self.levels, output_fmt="NCHW", intermediates_only=True
        )

    def decide(self, features: Sequence[Tensor], side: int) -> Tensor:
        """Return logits (B, K, side, side) of what `encode` returned."""
        logits: Tensor = self.head(features, side)
        return logits
