"""How a method edits a backbone: freeze it, then extend modules of it in place.

`extend` gives a module a subclass of its own class, with a mixin in front. The module stays where
it is: state-dict keys, hooks and references are kept, the change is visible in `print(model)`,
`copy.deepcopy` and `torch.compile` work, and `restore` takes it back. A parametrisation would
compute dense weight gradients; hooks would be bypassed where timm reads `.weight` itself.

Legend: B images, N tokens, C channels, (H, W) a map's size.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

# What `extend` puts in front of a module's class derives from one of these. To a type checker they
# are that class; when the program runs they are empty, so that `super()` leads to the class which
# the module happens to have.
if TYPE_CHECKING:

    class Extension(nn.Module):
        """A module whose `forward` takes and returns anything."""

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """Return what the extended module returns."""

    LinearExtension = nn.Linear
else:
    Extension = LinearExtension = object


@functools.cache
def _subclass(mixin: type, base: type) -> type:
    names = {"__module__": mixin.__module__, "extends": base}
    return type(f"{mixin.__name__}{base.__name__}", (mixin, base), names)


def extend(module: nn.Module, mixin: type, **attributes: Any) -> None:
    """Put `mixin` in front of the class of `module`, and set what the mixin needs on it."""
    own: Any = type(module)  # a key like any class, though checkers read the hash of its instances
    module.__class__ = _subclass(mixin, own)
    for name, value in attributes.items():
        setattr(module, name, value)


def restore(module: nn.Module, *attributes: str) -> None:
    """Take back the last `extend` of `module`, and delete the attributes that it set."""
    for name in attributes:
        delattr(module, name)
    # of this very class: one that was extended twice goes back by one step
    module.__class__ = vars(type(module))["extends"]


def added(adapter: nn.Module, base: Tensor, x: Tensor) -> Tensor:
    """Return `base + adapter(x)`; an adapter that can do it in one go has a method `onto`."""
    onto = getattr(adapter, "onto", None)
    return base + adapter(x) if onto is None else onto(base, x)


class Serial(Extension):
    """`y + adapter(y)` on the output y of a branch (attention or MLP)."""

    adapter: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the branch's output plus what the adapter makes of it."""
        out = super().forward(*args, **kwargs)
        return added(self.adapter, out, out)


class Parallel(Extension):
    """`branch(x) + adapter(x)` on the input x of a branch."""

    adapter: nn.Module

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the branch's output plus the adapter's."""
        out = super().forward(x, *args, **kwargs)
        return added(self.adapter, out, x)


class Tap(Extension):
    """Keeps its input until `taken`: how a block reads a residual that timm never hands out."""

    kept: Tensor | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what the module returns; its input is kept for one reader."""
        self.kept = x
        return super().forward(x, *args, **kwargs)


def take(tap: nn.Module) -> Tensor:
    """Return what `tap` kept and empty it: a kept non-leaf tensor would break `deepcopy`."""
    assert isinstance(tap, Tap)
    kept, tap.kept = tap.kept, None
    assert kept is not None
    return kept


def insert(x: Tensor, prompts: Tensor, position: int) -> Tensor:
    """Return `x` (B, N, C) with `prompts` (m, C) standing at `position` of the sequence."""
    rows = prompts.expand(len(x), -1, -1).to(x.dtype)
    return torch.cat([x[:, :position], rows, x[:, position:]], 1)


def remove(x: Tensor, num: int, position: int) -> Tensor:
    """Return `x` (B, N + num, C) without the `num` tokens at `position`."""
    return torch.cat([x[:, :position], x[:, position + num :]], 1)
