"""FourierFT: a few coefficients of the update's spectrum are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from methods.base import Count, Factor, register
from methods.parts.updates import Update, WeightMethod, seeded

PAPER = Citation(
    (
        "Gao, Ziqi",
        "Wang, Qichao",
        "Chen, Aochuan",
        "Liu, Zijing",
        "Wu, Bingzhe",
        "Chen, Liang",
        "Li, Jia",
    ),
    "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
    2024,
    "International Conference on Machine Learning",
    "inproceedings",
    arxiv="2405.03003",
)


class Spectrum(Update):
    """`W + s Re(IDFT2(F))`, F with trained values at fixed random frequencies, zero at first."""

    places: Tensor

    def __init__(self, rows: int, columns: int, number: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.fixed(places=seeded(rows * columns).argsort()[:number])
        self.values = nn.Parameter(torch.zeros(number))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W'."""
        # most of the spectrum is zero; a gather of cosines would be (number, out, in)
        flat = torch.zeros(weight.numel(), dtype=self.values.dtype, device=weight.device)
        spectrum = flat.index_add(0, self.places, self.values).view_as(weight)
        # real part as in the paper: it does not force the spectrum to be Hermitian
        return weight + self.scale * torch.fft.ifft2(spectrum).real


@register("fourierft")
@dataclass(frozen=True)
class FourierFT(WeightMethod):
    """W' = W + s Re(IDFT2(F)) with `number` trained coefficients per update (eq. 2-4).

    Frequencies are drawn from a fixed seed. Deviation: the coefficients start at zero (N(0, 1) in
    the paper), so that step 0 is the backbone.
    """

    number: Count = 1000
    scale: Factor = 150.0

    display = "FourierFT"
    family = "Sparse"
    works = (PAPER,)
    passage = "eq. 2-4"
    lr = 1e-1

    def update(self, weight: Tensor) -> Update:
        """Return the inverse transform."""
        return Spectrum(
            len(weight), weight.shape[1], self.size(len(weight), weight.shape[1]), self.scale
        )

    def size(self, rows: int, columns: int) -> int:
        """Return the number of coefficients, all of them where there are fewer."""
        return min(self.number, rows * columns)
