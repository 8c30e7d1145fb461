"""SCT: a linear map on the channels that training images excite most."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from benchmark.core.citation import Citation
from benchmark.core.numbers import Number
from methods import families
from methods.base import Batches, Factor, Loss, Method, Range, register
from methods.parts import stream

PAPER = Citation(
    (
        "Zhao, Henry Hengyuan",
        "Wang, Pichao",
        "Zhao, Yuyang",
        "Luo, Hao",
        "Wang, Fan",
        "Shou, Mike Zheng",
    ),
    "SCT: A Simple Baseline for Parameter-Efficient Fine-Tuning via Salient Channels",
    2023,
    "International Journal of Computer Vision",
    "article",
    arxiv="2309.08513",
)


class SalientChannels(nn.Module):
    """`s (A x_c + b)` of K `channels` c of the stream, zero in all others."""

    channels: Tensor

    def __init__(self, num: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("channels", torch.arange(num))
        self.map = nn.Linear(num, num)
        nn.init.trunc_normal_(self.map.weight, std=0.02)
        nn.init.zeros_(self.map.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the stream x (..., C)."""
        changed = self.scale * self.map(x.index_select(-1, self.channels))
        return torch.zeros_like(x).index_copy(-1, self.channels, changed.to(x.dtype))


@register("sct")
@dataclass(frozen=True)
class SCT(Method):
    """x_c <- x_c + s (A x_c + b) on a share of the channels of the stream after attention.

    Those with the largest norm over the patch tokens of training images: the L2 norm over all
    images of a class, averaged over classes (over all images at once where an image has no single
    class). As in the authors' code, A starts at std .02; they set s, learning rate and weight decay
    per data set: the defaults are the most frequent s and the median rate. Deviations: at most 512
    training images are looked at; the form of a few of their data sets, x_c <- s x_c + A x_c + b,
    is left out.
    """

    share: Annotated[float, Number(float, above=0, below=1)] = 0.125
    scale: Factor = 0.15

    display = "SCT"
    family = "Adapters"
    works = (PAPER,)
    passage = "sec. 3"
    identity = False
    lr = 6e-3
    ranges = (
        Range("scale", 0.15, 0.4, "configs/model_sct/vtab of github.com/showlab/SCT, 6 files"),
        Range("lr", 7e-4, 0.075, "run_model_sct.sh of github.com/showlab/SCT"),
        Range("weight_decay", 1e-4, 1.0, "run_model_sct.sh of github.com/showlab/SCT"),
    )
    calibration_images = 512

    def edit(self, backbone: nn.Module) -> None:
        """Put a map after each attention, on the first channels until `calibrate` has chosen."""
        for block in families.blocks(backbone):
            stream.change(block, SalientChannels(self._num(block), self.scale), None)

    def calibrate(self, backbone: nn.Module, batches: Batches, loss: Loss) -> None:
        """Take the channels with the largest norms in the network without any of the maps."""
        maps = [m for m in backbone.modules() if isinstance(m, SalientChannels)]
        prefix = int(getattr(backbone, "num_prefix_tokens", 0))
        squares: list[dict[int, Tensor]] = [{} for _ in maps]
        classes: list[int] = []

        def note(number: int) -> Any:
            def hook(module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> Tensor:
                (x,) = inputs
                tokens = x[:, prefix:] if x.ndim == 3 else x.flatten(1, 2)
                sums = tokens.double().square().sum(1)  # (B, C), of one image each
                for name, each in zip(classes, sums, strict=True):
                    total = squares[number]
                    total[name] = total[name] + each if name in total else each
                return torch.zeros_like(out)

            return hook

        with ExitStack() as stack, torch.no_grad():
            for number, module in enumerate(maps):
                stack.callback(module.register_forward_hook(note(number)).remove)
            for images, targets in batches:
                single = targets.ndim == 1
                classes[:] = targets.tolist() if single else [0] * len(images)
                backbone(images)
        for module, total in zip(maps, squares, strict=True):
            norms = torch.stack([total[name].sqrt() for name in sorted(total)]).mean(0)
            order = norms.argsort(dim=0, descending=True, stable=True)
            module.channels.copy_(order[: len(module.channels)].sort().values)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where no module adds attention to the stream."""
        return stream.missing(backbone)

    def count(self, backbone: nn.Module) -> int:
        """Return K^2 + K, summed over blocks."""
        sizes = [self._num(block) for block in families.blocks(backbone)]
        return sum(num * num + num for num in sizes)

    def _num(self, block: nn.Module) -> int:
        return max(1, round(self.share * families.width(block)))
