"""Trained low-rank products beside frozen layers, lean in time and memory. Not a method itself.

A trained matrix needs its input for its gradient. Where that input is the output of a norm or of an
activation, autograd keeps what *that* was made of anyway: here it is kept alone, and the input is
made again in the backward pass (`Source`).

With a rank of 8 a matrix product is three to five times slower on a CPU when the long axis stands
in the wrong place: hence the transpositions. `torch.compile` decides on its own what to keep and
how to multiply, so it is shown the plain formulas.

Legend: M rows (tokens of all images), in, out widths of a layer, r rank, s scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import seams

Make = Callable[[Tensor], Tensor]
Gradients = tuple[Tensor | None, ...]
RECIPE = "_recipe"  # the attribute of an output that holds its `Recipe`
SOURCES = (nn.LayerNorm, nn.GELU, nn.SiLU)  # cheap, and keep their input for their own backward


@dataclass(frozen=True)
class Recipe:
    """How to have a tensor again in the backward pass: `make(kept)`."""

    kept: Tensor
    make: Make


class Source(seams.Extension):
    """Notes on its output how it was made; the note lives as long as the output does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output, with its recipe."""
        forward = super().forward
        out = forward(x)
        if out.requires_grad and not torch.compiler.is_compiling():
            setattr(out, RECIPE, Recipe(x, _as_now(forward, x)))
        return out


def remake(module: nn.Module | None) -> None:
    """Let readers of `module`'s output have it made again, where that is cheap."""
    if isinstance(module, SOURCES) and not isinstance(module, Source):
        seams.extend(module, Source)


def restore(model: nn.Module) -> None:
    """Take `remake` back in all of `model`."""
    for module in [m for m in model.modules() if isinstance(m, Source)]:
        seams.restore(module)


def _recipe(x: Tensor) -> Recipe:
    found: Recipe | None = getattr(x, RECIPE, None)
    return found or Recipe(x, lambda kept: kept)


def _autocast_of(x: Tensor) -> tuple[str, torch.dtype] | None:
    """Return the device and the precision in which autocast multiplies now; None: it is off."""
    kind = x.device.type
    # some devices, such as "meta", know no autocast and raise when they are asked
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return kind, torch.get_autocast_dtype(kind)


def _as_now(make: Make, x: Tensor) -> Make:
    """Return `make` under the autocast of this moment, whatever holds when it is called.

    A backward pass runs outside autocast. There, CUDA's layer norm would refuse the bfloat16 that
    was kept beside its float32 weights, and the CPU's would round otherwise than before.
    """
    state = _autocast_of(x)
    if state is None:
        return make
    kind, dtype = state

    def again(kept: Tensor) -> Tensor:
        with torch.autocast(kind, dtype):
            return make(kept)

    return again


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _cast(x: Tensor, *others: Tensor | None) -> list[Any]:
    """Return all in the precision in which autocast would multiply them."""
    state = _autocast_of(x)
    dtype = x.dtype if state is None else state[1]
    return [None if t is None else t.to(dtype) for t in (x, *others)]


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `x W^T + b` (..., r) for a trained W (r, in): x is made again, not kept."""
    if torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    recipe = _recipe(x)
    return _Linear.apply(recipe, *_cast(x, weight, bias))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recipe: Recipe, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.make = recipe.make
        ctx.save_for_backward(recipe.kept, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        kept, weight = ctx.saved_tensors
        x = _rows(ctx.make(kept)).to(grad.dtype)
        g = _rows(grad)
        return None, grad @ weight if ctx.needs_input_grad[1] else None, g.t() @ x, g.sum(0)


def add_up(base: Tensor, hidden: Tensor, up: nn.Linear, scale: Tensor | float) -> Tensor:
    """Return `base + s (hidden U^T + b)`, (..., out) from a trained U (out, r) and hidden (..., r).

    Neither the product nor its scaled copy is kept: the gradient of s is found in r values a row.
    """
    if torch.compiler.is_compiling():
        return base + scale * up(hidden)
    if not isinstance(scale, Tensor):
        # filled by a kernel: a copy of a number from the host would wait for the whole queue
        scale = torch.full((), float(scale), device=base.device)
    hidden, weight, bias = _cast(hidden, up.weight, up.bias)
    return _AddUp.apply(base, hidden, weight, bias, scale)


class _AddUp(torch.autograd.Function):
    """The bias is a column of U that meets a column of ones in hidden."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, hidden: Tensor, *factors: Tensor) -> Tensor:
        weight, bias, scale = factors
        ctx.save_for_backward(hidden, *factors)
        up = _scaled(weight, bias, scale).t()
        # addmm adds to `base` while it multiplies: no product of M rows is written in between
        rows, ones = _rows(base), F.pad(_rows(hidden), (0, 1), value=1.0)
        same = rows.dtype == ones.dtype
        return (torch.addmm(rows, ones, up) if same else rows + ones @ up).view(base.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        hidden, weight, bias, scale = ctx.saved_tensors
        g, ones = _rows(grad).to(hidden.dtype), F.pad(_rows(hidden), (0, 1), value=1.0)
        # (out, r + 1): the gradients of U and b, but for s; that of s follows from them, since
        # the output is linear in s and in [U, b] alike, and no (M, out) product is made again
        up = (ones.t() @ g).t()
        down = (_scaled(weight, bias, scale)[:, :-1].t() @ g.t()).t()
        of_scale = None
        if ctx.needs_input_grad[4]:
            of_scale = (up * torch.cat([weight, bias[:, None]], 1)).sum().to(scale.dtype)
        up = up * scale.to(up.dtype)
        return grad, down.reshape(hidden.shape), up[:, :-1], up[:, -1], of_scale


def _scaled(weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    """Return s [U, b] (out, r + 1)."""
    return torch.cat([weight, bias[:, None]], 1) * scale.to(weight.dtype)


@dataclass(frozen=True)
class Branches:
    """Low-rank branches of one frozen layer: the rows of its output they add to, and s."""

    parts: Sequence[tuple[int, int]]
    scale: float


def low_rank(
    x: Tensor, layer: tuple[Tensor, Tensor | None], branches: Branches, a: Tensor, *ups: Tensor
) -> Tensor:
    """Return `W x + c` plus `s B_i A_i x` in the rows of part i, (..., out) from x (..., in).

    `layer` is the frozen (W, c); `a` (P r, in) holds the A of all P parts, `ups` their B (rows, r).
    """
    recipe = _recipe(x)
    x, weight, bias, *factors = _cast(x, *layer, a, *ups)
    return _LowRank.apply((recipe, branches, bias), x, weight, *factors)


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        fixed: tuple[Recipe, Branches, Tensor | None],
        x: Tensor,
        weight: Tensor,
        *factors: Tensor,
    ) -> Tensor:
        recipe, branches, bias = fixed
        a, *ups = factors
        rows = _rows(x)
        hidden = a @ rows.t()  # (P r, M): the short axis first, see above
        out = F.linear(rows, weight, bias)
        # in place: `out` is new, and the frozen layer's product is needed by no gradient
        for (start, stop), part, up in zip(branches.parts, _chunks(hidden, ups), ups, strict=True):
            out[:, start:stop].addmm_(part.t(), up.t(), alpha=branches.scale)
        ctx.make, ctx.branches = recipe.make, branches
        ctx.save_for_backward(recipe.kept, hidden, weight, *factors)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        kept, hidden, weight, a, *ups = ctx.saved_tensors
        scale, g = ctx.branches.scale, _rows(grad)
        pieces = [g[:, start:stop] for start, stop in ctx.branches.parts]
        of_ups = [
            (part @ piece).t() * scale
            for part, piece in zip(_chunks(hidden, ups), pieces, strict=True)
        ]
        down = torch.cat([up.t() @ piece.t() for up, piece in zip(ups, pieces, strict=True)])
        down *= scale
        # the input is made again only here, where it is used up at once: never two at a time
        of_a = down @ _rows(ctx.make(kept)).to(g.dtype)
        of_x = None
        if ctx.needs_input_grad[1]:  # not in the first adapted layer over a frozen stem
            of_x = (g @ weight).addmm_(down.t(), a).view(*grad.shape[:-1], -1)
        return None, of_x, None, of_a, *of_ups


def _chunks(hidden: Tensor, ups: Sequence[Tensor]) -> Sequence[Tensor]:
    return hidden.chunk(len(ups))
