"""The path of one cell, from its definition to its record; reads top to bottom."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

import methods
from benchmark import backbones
from benchmark.backbones.shared import own_trained
from benchmark.core.cell import Cell, seed
from benchmark.core.files import (
    CELL,
    CHECKPOINT,
    DELTA,
    ERROR,
    PART,
    UNSUPPORTED,
    sha256_of,
    write_json,
    write_text,
)
from benchmark.core.record import (
    RECORD,
    Calibration,
    Cost,
    DataSummary,
    Provenance,
    Record,
    read_record,
    write_record,
)
from benchmark.core.registry import InputError
from benchmark.core.settings import chosen
from benchmark.data.base import Card
from benchmark.scores import VERSION, Predictions, every_score
from benchmark.training import balance, citations, compiled, cost, memory, peek
from benchmark.training.arithmetic import arithmetic
from benchmark.training.artifacts import write_delta, write_predictions
from benchmark.training.calibration import calibrate
from benchmark.training.checkpoint import Interrupted, Progress, State
from benchmark.training.first_pass import (
    FirstPass,
    check_reached,
    first_pass_once,
    freeze_unreached,
    untouched,
    watched,
)
from benchmark.training.fit import Setup, evaluate, fit
from benchmark.training.head import Model
from benchmark.training.kept.features import Decision, Kept, Splits, from_kept
from benchmark.training.kept.together import Member, alike, fit_together
from benchmark.training.layout import lay_out
from benchmark.training.neighbours import Memory, Neighbours, memorize
from benchmark.training.provenance import provenance
from benchmark.training.session import Data, Session
from benchmark.training.source import images_of
from benchmark.training.tasks import Task, task_of
from methods import families
from methods.knn import KNearestNeighbours
from methods.parts.backbone import as_backbone

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
    write_json(folder / CELL, asdict(cell))
    try:
        with arithmetic(session.settings), compiled.limit(session.settings):
            record = _run(cell, session, folder, on_step, micro_batch)
    except Interrupted:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        write_text(folder / ERROR, f"{reason}\n\n{traceback.format_exc()}")
        raise
    for leftover in (folder / ERROR, *folder.glob("checkpoint.*"), *folder.glob(f".*{PART}")):
        leftover.unlink(missing_ok=True)
    return record


def _run(
    cell: Cell, session: Session, folder: Path, on_step: Listener, micro_batch: int
) -> Record | None:
    data = session.decoded(cell)
    _check_identity(cell, {"data": data.dataset.fingerprint, "weights": session.weights(cell)})
    backbone = session.backbone(cell)
    if reason := _unsupported(cell, backbone, data.dataset.card):
        write_text(folder / UNSUPPORTED, reason + "\n")
        return None
    bare = cost.size_of(backbone)
    tokens = {
        "image_tokens": families.num_image_tokens(backbone),
        "inserted_tokens": methods.of_cell(cell).inserted(backbone),
    }
    prepared = prepare(cell, session, data, backbone, folder / CHECKPOINT)
    model, task = prepared.model, prepared.setup.task
    setup = replace(prepared.setup, micro_batch=micro_batch)
    if session.settings.peek:
        setup = replace(setup, on_evaluation=peek.keep(folder))
    setup, splits, kept = from_kept(setup, prepared.splits, cell, session)
    if not kept:  # nobody reads images for which features stand
        splits = splits_of(session.data(cell), cell, session)
    done: Provenance = {}
    if session.settings.compiles:
        done = session.compiler.take(setup.model, cell, session.settings, micro_batch)
        setup = replace(setup, compiled=bool(done))
    setup = replace(setup, held_bytes=session.held_bytes(model))
    check = untouched(model, cell.method)  # it reads all weights: no part of the cell's own cost
    memory.reset_peak(session.device)
    listen = watched(model, prepared.own, cell, on_step)
    progress = _trained(cell, session, model, setup, splits, listen)
    costs = cost.training(cell, progress, session.device)
    check()
    val, test = evaluate(setup, splits.val), evaluate(setup, splits.test)
    costs |= (
        tokens
        | cost.parameters(model.body, model.head)
        | {
            "backbone_params": bare.params,
            "delta_bytes": write_delta(folder, progress.best),
            "full_bytes": bare.bytes + cost.size_of(model.head).bytes,
            "train_gflop_per_image": prepared.first_pass.gflop,
            "micro_batch": micro_batch or cell.batch_size,
        }
    )
    predictions = write_predictions(folder, data, val, test)
    losses = {"val_loss": val["loss"], "test_loss": test["loss"]}  # what is stored has none
    origin = _provenance(folder, cell, session, data.dataset.card, kept, progress)
    origin |= done
    if prepared.calibration:
        origin["calibration"] = prepared.calibration
        costs["train_s"] += prepared.calibration["seconds"]
    record = Record(
        cell=cell,
        data=_describe(data, task.metric),
        selected_step=progress.selected_step,
        val=every_score(Predictions.of_split(predictions | losses, task.classes, "val")),
        test=every_score(Predictions.of_split(predictions | losses, task.classes, "test")),
        history=progress.history,
        cost=Cost(**costs),
        provenance=origin,
    )
    write_record(folder, record)
    if session.settings.peek:
        peek.score(folder, setup, splits.test, record)
    return record


def _trained(
    cell: Cell, session: Session, model: Model, setup: Setup, splits: Splits, on_step: Listener
) -> Progress:
    """Train the cell, alone or with planned ones like it; the test part is not looked at."""
    if methods.of_cell(cell).head == "neighbours":
        return memorize(setup, splits.train, splits.val, cell.steps)
    if cell.key not in session.ahead:
        members = _members(cell, session, model, setup, splits)
        if len(members) == 1:
            return fit(setup, splits.train, splits.val, cell, on_step)
        found = fit_together(members, on_step)
        session.ahead |= {m.cell.key: p for m, p in zip(members, found, strict=True)}
    progress = session.ahead.pop(cell.key)
    setup.restore(progress.best)
    return progress


def _members(
    cell: Cell, session: Session, model: Model, setup: Setup, splits: Splits
) -> list[Member]:
    """Return the cell, and the planned ones that only differ from it in what a head sees.

    It is alone where more than a linear head is trained, and where it was begun before.
    """
    members, settings = [Member(cell, setup, splits)], session.settings
    if not isinstance(setup.model, Decision) or not isinstance(setup.model.head, nn.Linear):
        return members
    if settings.peek or setup.checkpoint.exists():
        return members
    assert isinstance(splits.train, Kept)
    for other in alike(cell, session.planned, splits.train.values.shape[1])[1:]:
        data = session.decoded(other)  # of images that nobody reads: features stand for them
        torch.manual_seed(seed(other, "head"))
        task = _weighted(task_of(data.dataset.card, other.output), other, data)
        if task != setup.task:  # class weights of another split
            continue
        same_body = task.model(model.body).to(session.device)
        theirs = setup_of(other, session, same_body, task, setup.checkpoint)
        decision = Decision(same_body, setup.model.shapes, setup.model.side)
        parts = (replace(splits.train, subset=s) for s in (data.train, data.val, data.test))
        theirs = replace(theirs, model=decision, held_bytes=setup.held_bytes)
        members.append(Member(other, theirs, Splits(*parts)))
    return members


def _weighted(task: Task, cell: Cell, data: Data) -> Task:
    """Return the task with the class weights that the cell's balance asks for."""
    weights = balance.kinds[cell.balance].weights
    if weights is balance.unweighted:  # masks have no labels to read
        return task
    return task.weighted(weights(data.train.labels, len(task.classes)))


@dataclass(frozen=True)
class Prepared:
    """A cell before its first step: its model, what `fit` asks for, and what its first pass showed.

    `own` are the ids of the backbone's parameters from before the method.
    """

    model: Model
    setup: Setup
    splits: Splits
    first_pass: FirstPass
    calibration: Calibration | None
    own: set[int]


def prepare(
    cell: Cell, session: Session, data: Data, backbone: nn.Module, checkpoint: Path
) -> Prepared:
    """Return the cell's assembled model, in which only what reaches the loss is trained.

    Raises:
        InputError: a method whose tensors no output of the backbone depends on, or whose features
            have another width than it says.
    """
    own, bare = {id(parameter) for parameter in backbone.parameters()}, set(backbone.modules())
    model, task = assemble(cell, backbone, data.dataset.card)
    setup = setup_of(cell, session, model, _weighted(task, cell, data), checkpoint)
    splits = splits_of(data, cell, session)
    calibration = calibrate(setup, model, splits.train, cell)
    first_pass = first_pass_once(setup, model, splits.train, cell, session.first_passes)
    check_reached(model, first_pass.unreached, own, cell)
    freeze_unreached(model, first_pass.unreached)
    lay_out(model, bare, cell.precision, session.device)
    return Prepared(model, setup, splits, first_pass, calibration, own)


def splits_of(data: Data, cell: Cell, session: Session) -> Splits:
    """Return the three splits of `data` as the loop reads them, normalised as `cell` says."""
    parts = (data.train, data.val, data.test)
    return Splits(*(images_of(part, cell, session.device) for part in parts))


def _unsupported(cell: Cell, backbone: nn.Module, card: Card) -> str | None:
    """Return why the method cannot do this cell, or None."""
    method = methods.of_cell(cell)
    if method.head == "neighbours" and card.task != "classification":
        return f"{method.name} votes on one class per image"
    if reason := method.refusal(backbone):
        return reason
    width = as_backbone(backbone).num_features
    if card.task == "segmentation" and method.num_features(backbone) != width:
        return f"{method.name} changes the pooled features alone, and segmentation reads maps"
    return None


def setup_of(cell: Cell, session: Session, model: Model, task: Task, checkpoint: Path) -> Setup:
    """Return what training and evaluation of an assembled `model` need."""
    return Setup(
        model=model,
        task=task,
        device=session.device,
        precision=cell.precision,
        live_batch_norm=methods.of_cell(cell).live_batch_norm,
        processes_per_gpu=session.settings.processes_per_gpu,
        state=lambda: trained_state(model),
        restore=lambda state: load_state(model, state),
        checkpoint=checkpoint,
    )


def assemble(cell: Cell, backbone: nn.Module, card: Card) -> tuple[Model, Task]:
    """Return (model, task): the method attached to `backbone`, under the head of the task.

    Method and head draw their initial values from seeds of their own, so that the head starts
    alike for all methods.
    """
    device = next(backbone.parameters()).device
    torch.manual_seed(seed(cell, "init"))
    method = methods.of_cell(cell)
    body = as_backbone(method.attach(backbone))
    own_trained(body)
    torch.manual_seed(seed(cell, "head"))
    task = task_of(card, cell.output)
    if isinstance(method, KNearestNeighbours):
        model: Model = Neighbours(body, body.num_features, len(card.classes), method.k)
    else:
        model = task.model(body)
    return model.to(device), task


def trained_state(model: Model) -> State:
    """Return what must be stored of `model`: the method's delta and the head."""
    body = {f"body.{name}": t for name, t in methods.delta(model.body).items()}
    head = model.head.state_dict()
    return body | {f"head.{name}": t for name, t in head.items()}


def load_state(model: Model, state: State) -> None:
    """Write a state back; missing and unexpected names raise InputError."""
    parts: dict[str, State] = {"body": {}, "head": {}}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise InputError(f"{name!r} is no tensor of a body or head; the file is not a delta")
        parts[part][rest] = tensor
    if isinstance(model.head, Memory):
        model.head.make_room(parts["head"])
    _check_head(model.head.state_dict(), parts["head"])
    methods.load_delta(model.body, parts["body"])
    model.head.load_state_dict(parts["head"])


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


def _provenance(
    folder: Path, cell: Cell, session: Session, card: Card, kept: bool, progress: Progress
) -> Provenance:
    source = session.source(cell.backbone)
    preprocessing = backbones.preprocessing(source)
    if ignored := backbones.left_out(source):
        preprocessing["left_out"] = ignored
    method = methods.of_cell(cell)
    method_source = citations.of_method(method.paper, method.works)
    # a method of the user's own may be out of reach when its records are reported
    method_source |= {n: v for n in ("display", "family") if (v := getattr(method, n))}
    sources = citations.of_cell(card, cell.backbone, method_source)
    found = provenance(preprocessing, session.device)
    space = {name: asdict(r) for name, r in method.search_space().items()}
    found |= {"cached_features": kept, "sources": sources, "search_space": space}
    found |= {"delta": sha256_of(folder / DELTA)}
    if earlier := session.settings.earlier.get(chosen(cell)):
        found |= {"earlier": earlier}
    found |= {"trained_together": progress.together} if progress.together > 1 else {}
    if session.settings.processes_per_gpu > 1:
        found |= {"processes_per_gpu": session.settings.processes_per_gpu}
    return cast(Provenance, found)


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
        reading=dict(data.dataset.read_as),
    )
