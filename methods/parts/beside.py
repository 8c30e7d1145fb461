"""Modules that read the residual stream and add to a block's output. Not a method itself."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from methods import families, seams


class Adds(Protocol):
    """A module that adds to a stream."""

    def onto(self, base: Tensor, u: Tensor, **options: Any) -> Tensor:
        """Return `base` (B, N, d) plus what is made of the residual u (B, N, d)."""
        ...


class BesideMLP(seams.Extension):
    """A block whose output gets `module(u)`, u the residual that enters its MLP sub-layer."""

    dynamic: Adds
    place: families.Residual
    options: dict[str, Any]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the block's output plus the module's; maps keep their layout."""
        out = super().forward(x, *args, **kwargs)
        u = x if self.place == "block" else seams.take(getattr(self, self.place))
        if self.place == "block":  # ConvNeXt: (B, d, H, W), channels last inside the module
            base, rows = (t.flatten(2).transpose(1, 2) for t in (out, u))
            return self.dynamic.onto(base, rows, **self.options).transpose(1, 2).reshape(out.shape)
        base, rows = (t.reshape(len(t), -1, t.shape[-1]) for t in (out, u))
        return self.dynamic.onto(base, rows, **self.options).reshape(out.shape)


def put_beside_mlp(block: nn.Module, module: nn.Module, **options: Any) -> None:
    """Add to the block's output what `module.onto` makes of the residual that enters its MLP.

    `module.onto(base, u, **options)` takes and returns (B, N, d). It may be shared by blocks.
    """
    place = families.residual(block)
    if place != "block":
        seams.extend(getattr(block, place), seams.Tap)
    seams.extend(block, BesideMLP, dynamic=module, place=place, options=options)
