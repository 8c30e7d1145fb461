"""Heads on the same kept features, trained at once: what differs is a row of a stacked tensor.

A grid of linear probes (seeds x rates x fractions) is small work in many steps: each step of each
probe is a few launches and a matrix product of microseconds. Here all of them take a step in one.

When the first of them is trained, the others are as well, and what became of them waits in the
session (`Session.ahead`) until their own turn: claims, records and failures stay per cell, and
whatever another process finishes first is thrown away here.

Each head sees the batches, the rates and the start that it would have alone; the sums are taken in
another order. Legend: C cells, B batch size, F values kept of an image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value

from benchmark.core.cell import Cell
from benchmark.training import balance
from benchmark.training.checkpoint import Interrupted, Progress
from benchmark.training.fit import Setup, batch_of, evaluate_point
from benchmark.training.kept.features import Splits
from benchmark.training.pixels import sent
from benchmark.training.schedule import evaluation_steps, last_step, learning_rate

# What may differ between cells that are trained at once: it changes rows, batches, rates or the
# start, but neither the features nor when they are scored. (Cells that train until converged may
# end at different steps.)
FREE = {
    "fraction",
    "shots",
    "split_seed",
    "subset",
    "seed",
    "lr",
    "weight_decay",
    "warmup",
    "clip",
    "head_lr",
}
LIMIT_BYTES = 1 << 28  # of the features of one step of all cells


def alike(cell: Cell, cells: Sequence[Cell], features: int) -> list[Cell]:
    """Return those of `cells` that can be trained at once with `cell`, which comes first.

    `features` is the number of values F that are kept of an image.
    """
    bound = [f.name for f in fields(Cell) if f.name not in FREE]
    same = [c for c in cells if all(getattr(c, n) == getattr(cell, n) for n in bound)]
    most = max(1, LIMIT_BYTES // (4 * features * cell.batch_size))
    return list(dict.fromkeys([cell, *same]))[:most]


@dataclass(frozen=True)
class Member:
    """One of the cells that are trained at once, as `fit` would be given it."""

    cell: Cell
    setup: Setup
    splits: Splits


def fit_together(
    members: Sequence[Member], on_step: Callable[[int], object] = lambda step: None
) -> list[Progress]:
    """Do as `fit` for each member, and return what became of them, in order.

    Nothing is saved on the way: all of it takes about as long as one cell.

    Raises:
        Interrupted: `on_step` answered true.
    """
    started, first = time.perf_counter(), members[0]
    cells, device = [m.cell for m in members], first.setup.device
    names = [name for name, _ in first.setup.model.named_parameters()]
    stacked = {
        n: torch.stack([m.setup.model.get_parameter(n).data for m in members]) for n in names
    }
    for name in names:
        for member, row in zip(members, stacked[name], strict=True):
            member.setup.model.get_parameter(name).data = row  # its head is a row of the whole
    adam = _Adam(stacked, cells)
    orders = [balance.kinds[m.cell.balance].order(m.splits.train, m.cell) for m in members]
    points = evaluation_steps(first.cell)
    made = [Progress(together=len(members)) for _ in members]

    def loss(parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        with first.setup.autocast():
            logits = functional_call(first.setup.model, parameters, (inputs,))
            return first.setup.task.loss(logits, targets)

    gradients = torch.vmap(grad_and_value(loss))
    for step in range(first.cell.steps):
        ends = [last_step(c, p.decays_from) for c, p in zip(cells, made, strict=True)]
        if step >= max(ends):
            break
        # a cell that has ended stays in the stack, at a rate of 0: to take its row out would cut
        # the others loose from theirs, and a step costs about the same for any number of cells
        rates = [
            learning_rate(step, c, p.decays_from) if step < end else 0.0
            for c, p, end in zip(cells, made, ends, strict=True)
        ]
        batches = [
            batch_of(member.splits.train, order, member.cell, device, step)
            for member, order in zip(members, orders, strict=True)
        ]
        inputs, targets = (torch.stack(parts) for parts in zip(*batches, strict=True))
        found, losses = gradients(stacked, inputs, targets)
        adam.step(found, step, rates)
        for member, progress, value, end in zip(members, made, losses, ends, strict=True):
            if step < end:
                progress.losses.append(value)
                progress.step = step + 1
                if step + 1 in points:
                    evaluate_point(member.setup, member.splits.val, progress, member.cell)
        if on_step(step + 1) and step + 1 < max(ends):
            raise Interrupted(f"stopped after step {step + 1}; its cells start anew")
    seconds, steps = time.perf_counter() - started, sum(progress.step for progress in made)
    peak = max(progress.peak_bytes for progress in made)
    for progress in made:
        progress.seconds, progress.peak_bytes = seconds * progress.step / steps, peak
    return made


class _Adam:
    """AdamW of torch, clipping included, whose rates differ from row to row (C, ...)."""

    BETAS, EPS = (0.9, 0.999), 1e-8

    def __init__(self, stacked: dict[str, Tensor], cells: Sequence[Cell]) -> None:
        self.stacked = stacked
        self.means = {name: torch.zeros_like(t) for name, t in stacked.items()}
        self.squares = {name: torch.zeros_like(t) for name, t in stacked.items()}
        # a head is all that is trained here, so its rate is `head_lr` where the cell has one
        self.shares = [c.head_lr / c.lr if c.head_lr else 1.0 for c in cells]
        first = next(iter(stacked.values()))
        self.clip = first.new_tensor([c.clip for c in cells])
        self.decay = first.new_tensor([c.weight_decay for c in cells])

    def step(self, gradients: dict[str, Tensor], step: int, rates: Sequence[float]) -> None:
        """Change the stacked tensors in place by `gradients` of step 0, 1, ... at `rates` (C,)."""
        norms = (
            torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
        )
        rate = torch.tensor([r * share for r, share in zip(rates, self.shares, strict=True)])
        rate = sent(rate.to(norms.dtype), norms.device)
        shrink = (self.clip / (norms + 1e-6)).clamp(max=1)
        (one, two), done = self.BETAS, step + 1
        for name, tensor in self.stacked.items():
            rows = (-1, *[1] * (tensor.ndim - 1))
            gradient = gradients[name] * shrink.view(rows)
            mean = self.means[name].lerp_(gradient, 1 - one)
            square = self.squares[name].mul_(two).addcmul_(gradient, gradient, value=1 - two)
            if tensor.ndim > 2:  # a matrix of each cell: vectors are not decayed
                tensor.mul_((1 - rate * self.decay).view(rows))
            size = (square.sqrt() / (1 - two**done) ** 0.5).add_(self.EPS)
            tensor.sub_((rate / (1 - one**done)).view(rows) * mean / size)
