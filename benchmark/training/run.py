"""The path of one cell, from its definition to its record; reads top to bottom."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

import methods
from benchmark import backbones
from benchmark.backbones.shared import own_trained
from benchmark.core.cell import Cell, seed
from benchmark.core.files import PART, write_json, write_text
from benchmark.core.record import (
    RECORD,
    Cost,
    DataSummary,
    Provenance,
    Record,
    read_record,
    write_record,
)
from benchmark.core.registry import InputError
from benchmark.data import origins
from benchmark.data.base import Card
from benchmark.scores import VERSION, Predictions, every_score
from benchmark.training import balance, cost, peek
from benchmark.training.artifacts import write_delta, write_predictions
from benchmark.training.checkpoint import Interrupted, Progress, State
from benchmark.training.fit import Setup, evaluate, fit
from benchmark.training.kept.features import use_cached
from benchmark.training.neighbours import Memory, Neighbours, memorize
from benchmark.training.pixels import statistics
from benchmark.training.provenance import provenance
from benchmark.training.session import Data, Session
from benchmark.training.task import Classification, Task, task_of

Listener = Callable[[int], object]


def run(
    cell: Cell,
    session: Session,
    runs: Path,
    on_step: Listener = lambda step: None,
    *,
    micro_batch: int = 0,
) -> Record | None:
    """Train and measure one cell, and return its record; None where the method cannot do it.

    A finished cell is read, not trained. A failure writes `error.txt` and is raised again: it is
    never a record, and the cell is tried again the next time. `micro_batch` images go through the
    model at once (0: the whole batch); gradients are summed, so the batch stays what it is.
    """
    folder = cell.folder(runs)
    if (folder / RECORD).exists():
        return read_record(folder / RECORD)
    write_json(folder / "cell.json", asdict(cell))
    try:
        record = _run(cell, session, folder, on_step, micro_batch)
    except Interrupted:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        write_text(folder / "error.txt", f"{reason}\n\n{traceback.format_exc()}")
        raise
    for leftover in (folder / "error.txt", *folder.glob("checkpoint.*"), *folder.glob(f".*{PART}")):
        leftover.unlink(missing_ok=True)
    return record


def _run(
    cell: Cell, session: Session, folder: Path, on_step: Listener, micro_batch: int
) -> Record | None:
    data = session.data(cell)
    _check_identity(cell, {"data": data.dataset.fingerprint, "weights": session.weights(cell)})
    backbone = session.backbone(cell)
    if reason := _unsupported(cell, backbone, data.dataset.card):
        write_text(folder / "unsupported.txt", reason + "\n")
        return None
    bare = cost.size_of(backbone)
    setup = replace(_prepared(cell, session, data, backbone, folder), micro_batch=micro_batch)
    model, task = setup.model, setup.task
    gflop = cost.probe_once(setup, data.train, cell, session.probes)
    setup, data = use_cached(setup, data, cell, session)
    progress = _fitted(_compiled(setup, session), data, cell, on_step)
    val, test = evaluate(setup, data.val), evaluate(setup, data.test)
    costs = cost.parameters(model.body, model.head) | {  # type: ignore[arg-type]
        "backbone_params": bare.params,
        "delta_bytes": write_delta(folder, progress.best),
        "full_bytes": bare.bytes + cost.size_of(model.head).bytes,  # type: ignore[arg-type]
        "train_gflop_per_image": gflop,
        "micro_batch": micro_batch or cell.batch_size,
    }
    costs |= cost.training(cell, progress.seconds, session.device)
    predictions = write_predictions(folder, data, val, test)
    losses = {"val_loss": val["loss"], "test_loss": test["loss"]}  # what is stored has none
    record = Record(
        cell=cell,
        data=_describe(data, task.metric),
        selected_step=progress.selected_step,
        val=every_score(Predictions.of_split(predictions | losses, task.classes, "val")),
        test=every_score(Predictions.of_split(predictions | losses, task.classes, "test")),
        history=progress.history,
        cost=Cost(**costs),
        provenance=_provenance(cell, session, data.dataset.card, setup.model is not model),
    )
    write_record(folder, record)
    if session.settings.peek:
        peek.score(folder, setup, data.test, record)
    return record


def _compiled(setup: Setup, session: Session) -> Setup:
    """Return `setup`, its model compiled in place where the session asks for it."""
    if session.settings.compile:
        torch.compiler.reset()  # what earlier cells compiled counts against a limit
        setup.model.compile()
    return setup


def _fitted(setup: Setup, data: Data, cell: Cell, on_step: Listener) -> Progress:
    """Train on the training part, or only remember it; the test part is not looked at."""
    if isinstance(setup.model, Neighbours):
        return memorize(setup, data.train, data.val, cell.steps)
    return fit(setup, data.train, data.val, cell, on_step)


def _unsupported(cell: Cell, backbone: nn.Module, card: Card) -> str | None:
    """Return why the method cannot do this cell, or None."""
    method = methods.build(cell.method, recorded=True)
    if method.head == "neighbours" and card.task != "classification":
        return f"{method.name} votes on one class per image"
    return method.unsupported(backbone)


def _prepared(cell: Cell, session: Session, data: Data, backbone: nn.Module, folder: Path) -> Setup:
    """Return the assembled model with everything that training asks for."""
    model, task = assemble(cell, backbone, data.dataset.card)
    if cell.balance == "loss" and isinstance(task, Classification):
        task = replace(task, weights=balance.weights(data.train.labels, len(task.classes)))
    setup = setup_of(cell, session, model, task, folder / "checkpoint.pt")
    return replace(setup, on_evaluation=peek.keep(folder)) if session.settings.peek else setup


def setup_of(cell: Cell, session: Session, model: nn.Module, task: Task, checkpoint: Path) -> Setup:
    """Return what training and evaluation of an assembled `model` need."""
    mean, std = statistics(cell.normalize, session.device)
    return Setup(
        model=model,
        task=task,
        device=session.device,
        mean=mean,
        std=std,
        precision=cell.precision,
        live_batch_norm=methods.build(cell.method, recorded=True).live_batch_norm,
        state=lambda: trained_state(model),
        restore=lambda state: load_state(model, state),
        checkpoint=checkpoint,
    )


def assemble(cell: Cell, backbone: nn.Module, card: Card) -> tuple[nn.Module, Task]:
    """Return (model, task): the method attached to `backbone`, under the head of the task.

    Method and head draw their initial values from seeds of their own, so that the head starts
    alike for all methods.
    """
    device = next(backbone.parameters()).device
    torch.manual_seed(seed(cell, "init"))
    method = methods.build(cell.method, recorded=True)
    body = method.attach(backbone)
    own_trained(body)
    torch.manual_seed(seed(cell, "head"))
    task = task_of(card, cell.output)
    if method.head == "neighbours":
        return Neighbours(body, body.num_features, len(card.classes), method.k).to(device), task  # type: ignore[arg-type, attr-defined]
    return task.model(body).to(device), task


def trained_state(model: nn.Module) -> State:
    """Return what must be stored of `model`: the method's delta and the head."""
    body = {f"body.{name}": t for name, t in methods.delta(model.body).items()}  # type: ignore[arg-type]
    head = model.head.state_dict()  # type: ignore[union-attr]
    return body | {f"head.{name}": t for name, t in head.items()}


def load_state(model: nn.Module, state: State) -> None:
    """Write a state back; missing and unexpected names raise InputError."""
    parts: dict[str, State] = {"body": {}, "head": {}}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    if isinstance(model.head, Memory):
        model.head.make_room(parts["head"])
    _check_head(model.head.state_dict(), parts["head"])  # type: ignore[union-attr]
    methods.load_delta(model.body, parts["body"])  # type: ignore[arg-type]
    model.head.load_state_dict(parts["head"])  # type: ignore[union-attr]


def _check_head(wanted: State, found: State) -> None:
    """Refuse a head of another task before anything is loaded."""
    shapes = [{name: tuple(t.shape) for name, t in part.items()} for part in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"this head is of another task or number of classes: it has {shapes[1]}, "
            f"the model wants {shapes[0]}"
        )


def _check_identity(cell: Cell, found: dict[str, str]) -> None:
    """Refuse to train on other images or weights than the cell was planned for."""
    for name, value in found.items():
        if value != getattr(cell, name):
            raise InputError(
                f"the {name} of {cell.slug} changed since it was planned "
                f"({getattr(cell, name)} then, {value} now); run the command again to plan anew"
            )


def _provenance(cell: Cell, session: Session, card: Card, cached_features: bool) -> Provenance:
    preprocessing = backbones.preprocessing(session.source(cell.backbone))
    sources = origins.of_cell(card, cell.backbone, methods.build(cell.method, recorded=True).paper)
    found = provenance(preprocessing) | {"cached_features": cached_features, "sources": sources}
    return cast(Provenance, found | ({"compiled": True} if session.settings.compile else {}))


def _describe(data: Data, metric: str) -> DataSummary:
    card = data.dataset.card
    return DataSummary(
        labels_used=len(data.train) + len(data.val),
        metric=metric,
        synthetic=card.synthetic,
        train=len(data.train),
        val=len(data.val),
        test=len(data.test),
        groups_test=len(set(data.test.groups)),
        classes=card.classes,
        task=card.task,
        ordinal=card.ordinal,
        display=card.title,
        grouping=card.grouping,
        group_note=card.group_note,
        definitions=VERSION,
    )
