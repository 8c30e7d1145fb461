"""Modules that add to the residual stream after attention and MLP. Not a method itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from methods import families, seams


class AddsToStream(seams.Extension):
    """timm's `drop_path1`: y -> y + changer(x + y), x what entered the block, y its attention.

    x + y is the residual stream between attention and MLP, which no module of the block returns.
    """

    changer: nn.Module
    entered: Tensor | None

    def forward(self, y: Tensor) -> Tensor:
        """Return (..., C): what is added to the stream."""
        y = super().forward(y)
        x, self.entered = self.entered, None  # a tensor that is kept would break `deepcopy`
        assert x is not None
        return y + self.changer(x + y)


class ChangedStream(seams.Extension):
    """A block that hands its input to `drop_path1`, and whose output o becomes o + last(o)."""

    last: nn.Module | None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the block's changed output."""
        drop = getattr(self, "drop_path1", None)  # blocks of convolutions have none
        if isinstance(drop, AddsToStream):
            drop.entered = x
        out = super().forward(x, *args, **kwargs)
        return out if self.last is None else out + self.last(out)


def change(block: nn.Module, middle: nn.Module | None, last: nn.Module | None) -> None:
    """Add `middle` of the stream after attention, and `last` of the block's output."""
    if middle is not None:
        drop = block.drop_path1
        assert isinstance(drop, nn.Module)
        seams.extend(drop, AddsToStream, changer=middle, entered=None)
    seams.extend(block, ChangedStream, last=last)


def missing(backbone: nn.Module) -> str | None:
    """Return why the stream of `backbone` cannot be changed after attention, or None."""
    found = families.find(backbone)
    if found is not None and not found.whole:
        # what leaves the attention of SAM is cut in windows; in Hiera it is pooled and wider
        return f"a {found.name} block adds to another tensor after attention than what entered it"
    blocks = families.blocks(backbone)
    if not blocks or not all(isinstance(getattr(b, "drop_path1", 0), nn.Module) for b in blocks):
        return "its blocks have no residual sum after an attention"
    return None
