"""k-nearest neighbours on frozen features: what the backbone knows before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmark.core.citation import Citation
from methods.base import Count, Method, register

PAPER = Citation(
    (
        "Caron, Mathilde",
        "Touvron, Hugo",
        "Misra, Ishan",
        "Jégou, Hervé",
        "Mairal, Julien",
        "Bojanowski, Piotr",
        "Joulin, Armand",
    ),
    "Emerging Properties in Self-Supervised Vision Transformers",
    2021,
    "IEEE/CVF International Conference on Computer Vision",
    "inproceedings",
    arxiv="2104.14294",
)


@register("knn")
@dataclass(frozen=True)
class KNearestNeighbours(Method):
    """Votes of the `k` most similar training images, in place of a trained head."""

    display = "k-NN"
    family = "Reference"
    works = (PAPER,)
    head = "neighbours"
    mergeable = True
    k: Count = 20  # more than there are training images is no fault: all of them vote then

    def edit(self, backbone: nn.Module) -> None:
        """Train nothing of the backbone."""

    def count(self, backbone: nn.Module) -> int:
        """Return 0."""
        return 0

    def fold(self, module: nn.Module) -> nn.Module:
        """Return `module`: nothing was added."""
        return module
