"""The one training loop: the same for every method, resumable, and blind to the test set.

Legend: B batch size, S image side, n images of a split.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.core.cell import Cell, seed
from benchmark.scores import is_better, metric_of
from benchmark.training import balance, compiled, memory, prefetch
from benchmark.training.checkpoint import Clock, Interrupted, Progress, State, resume, save
from benchmark.training.gathered import Gathered
from benchmark.training.head import Model
from benchmark.training.optimizer import optimizer_of
from benchmark.training.schedule import decay_start, evaluation_steps, last_step, learning_rate
from benchmark.training.source import Batch, Source
from benchmark.training.tasks import Arrays, Task


@dataclass(frozen=True)
class Setup:
    """What `fit` and `evaluate` need beside data: model, task and where they run.

    `state` reads what must be saved (trained tensors, head, their buffers), `restore` writes it
    back.
    """

    model: Model  # from what a `Source` gives to logits
    task: Task
    device: torch.device
    precision: str
    live_batch_norm: bool
    state: Callable[[], State]
    restore: Callable[[State], None]
    checkpoint: Path
    micro_batch: int = 0  # images at once; 0: the whole batch
    compiled: bool = False  # for batches of one size
    processes_per_gpu: int = 1
    held_bytes: int = 0  # of the device, for others than this cell
    on_evaluation: Callable[[int, State], object] = lambda step, state: None

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the mixed-precision context of the cell ("fp32" or "bf16")."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def peak_bytes(self) -> int:
        """Return the most that a GPU held for this cell since `reset_peak`; 0 elsewhere.

        What is held for others is left out here and now: another process that goes on with the
        cell holds other things.
        """
        return max(0, memory.peak_bytes(self.device) - self.held_bytes)


def set_mode(model: nn.Module, live_batch_norm: bool) -> None:
    """Put `model` into training mode, layers with running statistics only where they may move."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            module.train(live_batch_norm)


def fit(
    setup: Setup,
    train: Source,
    val: Source,
    cell: Cell,
    on_step: Callable[[int], object] = lambda step: None,
) -> Progress:
    """Train on `train`, choose the step on `val`, and return the progress with the best state.

    The chosen state is left in the model. Progress is saved in `setup.checkpoint` (`Clock` says
    when); a run that finds it continues with the same result (bit for bit on the CPU). `on_step` is
    given the number of steps done.

    Raises:
        Interrupted: `on_step` answered true; progress is saved.
    """
    optimizer = optimizer_of(setup.model, cell)
    progress = resume(setup.checkpoint, setup.restore, optimizer, setup.device)
    order = balance.kinds[cell.balance].order(train, cell)
    points = evaluation_steps(cell)
    set_mode(setup.model, setup.live_batch_norm)
    clock = Clock(progress)

    make = partial(batch_of, train, order, cell, setup.device)
    with prefetch.batches(make, train, setup.device) as next_batch:
        while progress.step < last_step(cell, progress.decays_from):
            step = progress.step
            batch = next_batch(step)
            torch.manual_seed(_seed_of(cell, step))  # dropout
            rate = learning_rate(step, cell, progress.decays_from)
            progress.losses.append(_train_step(setup, optimizer, batch, cell, rate))
            progress.step = step + 1
            at_point = progress.step in points
            if at_point:
                evaluate_point(setup, val, progress, cell)
            stop = on_step(progress.step) and progress.step < last_step(cell, progress.decays_from)
            if stop or clock.is_due(at_point=at_point):
                with clock.saving():
                    save(setup.checkpoint, setup.state(), optimizer, progress)
            if stop:
                raise Interrupted(f"stopped after step {step + 1}; the checkpoint continues it")
    clock.note()
    setup.restore(progress.best)
    return progress


def _seed_of(cell: Cell, step: int) -> int:
    """Return the seed of all that is random in a step: it depends on cell and step alone."""
    return (seed(cell, "order") + step) % 2**63


def batch_of(
    train: Source, order: balance.Order, cell: Cell, device: torch.device, step: int
) -> Batch:
    """Return what the model sees in a step, and targets: a function of cell and step alone."""
    generator = torch.Generator().manual_seed(_seed_of(cell, step))
    return train.augmented(order(step), generator, device)


def _train_step(
    setup: Setup, optimizer: torch.optim.AdamW, batch: Batch, cell: Cell, rate: float
) -> Tensor:
    if not setup.model.training:  # an evaluation went before; to walk all modules takes 1.5 ms
        set_mode(setup.model, setup.live_batch_norm)
    optimizer.zero_grad(set_to_none=True)
    loss = _backward(setup, *batch)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, cell.clip)
    optimizer.step()
    return loss


def _backward(setup: Setup, images: Tensor, targets: Tensor) -> Tensor:
    """Accumulate the gradients of the batch, in micro-batches if asked, and return its loss."""
    total = torch.zeros((), device=images.device)
    size = setup.micro_batch or len(images)
    for part, truth in zip(images.split(size), targets.split(size), strict=True):
        with setup.autocast():
            logits = setup.model(part)
            loss = setup.task.loss(logits, truth) * (len(part) / len(images))
        loss.backward()
        total += loss.detach()
    return total


def evaluate(setup: Setup, source: Source) -> Arrays:
    """Return the task's per-image results over `source`, in its order.

    Fewer images go through at once where memory ends, as in training.
    """

    def results(positions: np.ndarray) -> dict[str, Tensor]:
        with torch.inference_mode():
            inputs, targets = source.still(positions, setup.device)
            many = compiled.filled(inputs, chunks.size) if setup.compiled else inputs
            with setup.autocast():
                logits = setup.model(many)[: len(inputs)]
            return setup.task.reduce(logits.float(), targets)

    setup.model.eval()
    chunks = memory.chunks(setup.device, setup.processes_per_gpu, fixed=setup.compiled)
    gathered = Gathered(len(source))
    for found in chunks.map(len(source), results):
        gathered.add(found)  # off the GPU, which the masks of a large set would fill
    return gathered.arrays()


def evaluate_point(setup: Setup, val: Source, progress: Progress, cell: Cell) -> None:
    """Score the validation set, note it, and keep the state when it ranks above the best so far.

    What counts as better for the choice counts for the patience as well.
    """
    train_loss = float(torch.stack(progress.losses).mean())
    progress.losses = []
    if not math.isfinite(train_loss):
        raise FloatingPointError(f"the loss became {train_loss} before step {progress.step}")
    progress.peak_bytes = max(progress.peak_bytes, setup.peak_bytes())
    scores = setup.task.scores(evaluate(setup, val), val.units)
    memory.reset_peak(setup.device)  # what an evaluation takes depends on what is free
    point: dict[str, float | None] = {"step": progress.step, "train_loss": train_loss}
    progress.history.append(point | {f"val_{name}": value for name, value in scores.items()})
    rank = metric_of(setup.task.metric).rank(scores)
    setup.on_evaluation(progress.step, setup.state())
    if not progress.best or is_better(rank, progress.best_rank):
        progress.best_rank, progress.selected_step = rank, progress.step
        # on the host: the best of `full` is as large as the model that a GPU trains
        progress.best = {n: t.detach().to("cpu", copy=True) for n, t in setup.state().items()}
    if not progress.decays_from:
        progress.decays_from = decay_start(cell, progress.step, progress.selected_step)
