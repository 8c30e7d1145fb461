"""The one training loop: the same for every method, resumable, and blind to the test set.

Legend: B batch size, S image side, n images of a split.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.core.cell import Cell, seed
from benchmark.scores import is_better, metric_of
from benchmark.training.augment import draws, policies
from benchmark.training.batches import balanced_positions, batch_positions
from benchmark.training.checkpoint import Clock, Interrupted, Progress, State, resume, save
from benchmark.training.optimizer import learning_rate, optimizer_of
from benchmark.training.pixels import normalized
from benchmark.training.subset import Change, Subset
from benchmark.training.task import Arrays, Task

EVAL_BATCH = 64


@dataclass(frozen=True)
class Setup:
    """What `fit` and `evaluate` need beside data: model, task and where they run.

    `state` reads what must be saved (trained tensors, head, their buffers), `restore` writes it
    back.
    """

    model: nn.Module
    task: Task
    device: torch.device
    mean: Tensor
    std: Tensor
    precision: str
    live_batch_norm: bool
    state: Callable[[], State]
    restore: Callable[[State], None]
    checkpoint: Path
    micro_batch: int = 0  # images at once; 0: the whole batch
    on_evaluation: Callable[[int, State], object] = lambda step, state: None

    def normalize(self, images: Tensor) -> Tensor:
        """Return `images` (B, C, S, S), bytes or in [0, 1], with the backbone's mean and std."""
        return normalized(images, self.mean, self.std)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the mixed-precision context of the cell ("fp32" or "bf16")."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def set_mode(model: nn.Module, live_batch_norm: bool) -> None:
    """Put `model` into training mode, layers with running statistics only where they may move."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            module.train(live_batch_norm)


def fit(
    setup: Setup,
    train: Subset,
    val: Subset,
    cell: Cell,
    on_step: Callable[[int], object] = lambda step: None,
) -> Progress:
    """Train on `train`, choose the step on `val`, and return the progress with the best state.

    The chosen state is left in the model. Progress is saved in `setup.checkpoint` after every
    evaluation and every minute; a run that finds it continues with the same result (bit for bit
    on the CPU). `on_step` is told the number of steps done.

    Raises:
        Interrupted: `on_step` answered true; progress is saved.
    """
    optimizer = optimizer_of(setup.model, cell)
    progress = resume(setup, optimizer)
    points = _evaluation_steps(cell)
    clock = Clock(progress)
    for step in range(progress.step, cell.steps):
        progress.losses.append(_train_step(setup, optimizer, train, cell, step))
        progress.step = step + 1
        if progress.step in points:
            _evaluate_point(setup, val, progress)
        stop = on_step(progress.step) and progress.step < cell.steps
        if stop or progress.step in points or clock.is_due():
            clock.note()
            save(setup, optimizer, progress)
        if stop:
            raise Interrupted(f"stopped after step {progress.step}; the checkpoint continues it")
    setup.restore(progress.best)
    return progress


def _evaluation_steps(cell: Cell) -> set[int]:
    count = min(cell.evaluations, cell.steps)
    return {round(cell.steps * (i + 1) / count) for i in range(count)}


def _train_step(
    setup: Setup, optimizer: torch.optim.AdamW, train: Subset, cell: Cell, step: int
) -> Tensor:
    set_mode(setup.model, setup.live_batch_norm)
    generator = torch.Generator().manual_seed((seed(cell, "order") + step) % 2**63)
    torch.manual_seed((seed(cell, "order") + step) % 2**63)  # dropout: a function of the step
    balanced = cell.balance == "sampler"
    positions = (
        balanced_positions(step, train.labels, cell)
        if balanced
        else batch_positions(step, len(train), cell)
    )
    change = Change(policies[cell.augment], setup.normalize)
    if cell.views:
        numbers = torch.randint(cell.views, (len(positions),), generator=generator).numpy()
        images, targets = train.views(positions, numbers, setup.device, change)
    else:
        draw = draws(len(positions), generator)
        images, targets = change(*train.load(positions, setup.device), draw)
    optimizer.zero_grad(set_to_none=True)
    loss = _backward(setup, images, targets)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, cell) * group["share"]
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


def evaluate(setup: Setup, subset: Subset) -> Arrays:
    """Return the task's per-image results over `subset`, in its order."""
    setup.model.eval()
    parts: list[dict[str, Tensor]] = []
    with torch.inference_mode():
        for positions in _chunks(len(subset)):
            images, targets = subset.load(positions, setup.device)
            with setup.autocast():
                logits = setup.model(setup.normalize(images))
            parts.append(setup.task.reduce(logits.float(), targets))
    return {name: torch.cat([p[name] for p in parts]).cpu().numpy() for name in parts[0]}


def _chunks(size: int) -> Iterator[np.ndarray]:
    for start in range(0, size, EVAL_BATCH):
        yield np.arange(start, min(start + EVAL_BATCH, size))


def _evaluate_point(setup: Setup, val: Subset, progress: Progress) -> None:
    """Score the validation set, note it, and keep the state when it ranks above the best so far."""
    train_loss = float(torch.stack(progress.losses).mean())
    progress.losses = []
    if not math.isfinite(train_loss):
        raise FloatingPointError(f"the loss became {train_loss} before step {progress.step}")
    scores = setup.task.scores(evaluate(setup, val), val.units)
    point: dict[str, float | None] = {"step": progress.step, "train_loss": train_loss}
    progress.history.append(point | {f"val_{name}": value for name, value in scores.items()})
    rank = metric_of(setup.task.metric).rank(scores)
    setup.on_evaluation(progress.step, setup.state())
    if not progress.best or is_better(rank, progress.best_rank):
        progress.best_rank, progress.selected_step = rank, progress.step
        progress.best = {name: t.detach().clone() for name, t in setup.state().items()}
