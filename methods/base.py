"""The contract of a method, the registry, and what is saved of a trained model."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import traceback
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from benchmark.core.cell import Cell
from benchmark.core.citation import Citation, source
from benchmark.core.numbers import Number
from benchmark.core.registry import ENTRY_POINTS, InputError, Registry, unknown
from benchmark.core.spec import format_spec, parse_spec
from benchmark.core.typed import annotated, is_checked, typed
from methods import families
from methods.parts.backbone import as_backbone

methods: Registry[type[Method]] = Registry("method")
M = TypeVar("M", bound="type[Method]")
Batches = Iterable[tuple[Tensor, Tensor]]  # images (B, 3, S, S) and targets; may be read twice
Loss = Callable[[Tensor, Tensor], Tensor]  # the task's mean loss of images and targets


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The names that a field of a method may hold."""

    names: tuple[str, ...]


# What a field may hold is said by its type, and `Method` checks it.
Count = Annotated[int, Number(int, least=1, most=10**6)]  # no machine has the memory for more
# of what is trained: smaller ones take it out, larger ones overflow
Factor = Annotated[float, Number(float, least=1e-30, most=1e30)]
Share = Annotated[float, Number(float, least=0, below=1)]


def later(default: Any, recorded: Any) -> Any:
    """Return a field that a method was given after it had records.

    `recorded` is what a spec without the field meant: `build(..., recorded=True)` fills it in. A
    field whose default is that value stays out of the printed spec while it is at its default, so
    that cells keep their keys; any other default is printed, and makes another cell.
    """
    return dataclasses.field(default=default, metadata={"recorded": recorded})


def register(name: str) -> Callable[[M], M]:
    """Return a class decorator that files a method under `name`."""

    def file(cls: M) -> M:
        cls.name = name
        methods.add(name)(cls)
        return cls

    return file


@dataclasses.dataclass(frozen=True)
class Range:
    """Where trials draw a value, log-uniformly, and who says so."""

    name: str  # "lr", "weight_decay" or a field of the method
    low: float
    high: float
    source: str


OURS = "this benchmark's for all methods whose authors state none for AdamW: "


@dataclasses.dataclass(frozen=True)
class Method:
    """A frozen dataclass whose fields are the hyper-parameters; `str` is its spec.

    A subclass defines `edit` and `count`, states its source (`works`, or one line of `paper`), and
    whether attaching leaves the function unchanged at step 0 (`identity`).
    """

    name: ClassVar[str]
    display: ClassVar[str] = ""  # as tables and figures print it ("LoRA"); empty: the name
    family: ClassVar[str] = ""  # the heading that a paper's table puts it under ("Low-rank")
    works: ClassVar[tuple[Citation, ...]] = ()  # what to cite, the paper that defines it first
    passage: ClassVar[str] = ""  # where that paper defines it: "eq. 3 and sec. 4.1"
    paper: ClassVar[str] = ""  # the source in one line; made of the two above where not given
    identity: ClassVar[bool] = True
    lr: ClassVar[float] = 1e-3  # default peak learning rate of AdamW
    ranges: ClassVar[tuple[Range, ...]] = ()  # what the authors searched
    live_batch_norm: ClassVar[bool] = False  # running statistics move in training
    mergeable: ClassVar[bool] = False
    # what is read of frozen blocks below the lowest trained tensor, so that it can be kept: "" (not
    # known), "last" (the output of the last of them), "maps" (the maps of all)
    reads: ClassVar[Literal["", "last", "maps"]] = ""
    head: ClassVar[str] = "trained"  # or "neighbours": the harness votes instead of training one
    calibration_images: ClassVar[int] = 0  # at most so many `calibrate` is shown; 0: never called

    def __post_init__(self) -> None:
        """Raise InputError for a field outside of what its type declares."""
        cls: Any = type(self)  # a key like any class, though checkers read its instances' hash
        owner = getattr(self, "name", cls.__name__)
        for name, note in annotated(cls):
            value = getattr(self, name)
            if isinstance(note, OneOf) and value not in note.names:
                raise unknown(f"{name} of {owner}", value, note.names)
            if isinstance(note, Number) and value is not None:
                note.check(value, f"{owner}: {name}")

    def __str__(self) -> str:
        fields = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if not getattr(self, f.name) == f.default == f.metadata.get("recorded", dataclasses)
        }
        return format_spec(self.name, fields)

    def attach(self, backbone: nn.Module, *, counted: bool = True) -> nn.Module:
        """Freeze `backbone`, edit it in place, and return it.

        `requires_grad` is left true on exactly the tensors that the method trains; `forward` and
        `forward_intermediates` keep their shapes. `counted=False` leaves out the comparison with
        `count`: the audit reports a wrong count beside the other faults.

        Raises:
            InputError: where `unsupported` gives a reason, or other values are trained than `count`
                says.
        """
        if reason := self.refusal(backbone):
            raise InputError(f"{self} cannot be attached: {reason}")
        self._warn_of_many_tokens(backbone)
        buffers = {name: t.clone() for name, t in backbone.named_buffers()}
        own = {id(t) for t in (*backbone.parameters(), *backbone.buffers())}
        like = next(p for p in backbone.parameters() if p.is_floating_point())
        count, width = self.count(backbone), self.num_features(backbone)
        self.edit(backbone.requires_grad_(False))
        # methods create tensors in single precision on the CPU; a backbone may be elsewhere
        for tensor in (*backbone.parameters(), *backbone.buffers()):
            if id(tensor) not in own and not like.is_meta:
                dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
                tensor.data = tensor.data.to(like.device, dtype)
        found = sum(p.numel() for p in trainable(backbone).values())
        if counted and found != count:
            raise InputError(
                f"{self} trains {found} values, though its count says {count}; its edit or its "
                "count is wrong: python -m benchmark audit shows where"
            )
        as_backbone(backbone).num_features = width
        as_backbone(backbone).buffers_at_attach = buffers
        return backbone

    def _warn_of_many_tokens(self, backbone: nn.Module) -> None:
        """Warn where more tokens are inserted than the image has: attention drowns in them."""
        inserted, own = self.inserted(backbone), families.num_image_tokens(backbone)
        if own and inserted > own:
            warnings.warn(
                f"{self} inserts {inserted} tokens beside {own} of the image; fewer prompts or "
                "larger images are usually better",
                stacklevel=3,
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class that lacks what the contract asks for, by name."""
        super().__init_subclass__(**kwargs)
        if "paper" not in vars(cls) and cls.works:
            cls.paper = source(cls.works, cls.passage)
        missing = [
            f"{name}(self, backbone)"
            for name in ("edit", "count")
            if getattr(cls, name) is getattr(Method, name)
        ]
        if missing:
            raise InputError(f"the method {cls.__name__} must define {' and '.join(missing)}")

    def inserted(self, backbone: nn.Module) -> int:
        """Return how many tokens the method adds to a sequence (or a window) of `backbone`."""
        return 0

    def edit(self, backbone: nn.Module) -> None:
        """Edit the frozen `backbone` in place."""
        raise NotImplementedError

    def calibrate(self, backbone: nn.Module, batches: Batches, loss: Loss) -> None:
        """Choose from training images what is trained; called once, between `attach` and training.

        `batches` are `calibration_images` of the cell's training images, unchanged; `loss` is that
        of the task under its untrained head. The choice is written in place into buffers which
        `edit` registered: their shapes, and hence `count`, are known without any image, and the
        delta stores them, so that nobody needs the images again.
        """

    def num_features(self, backbone: nn.Module) -> int:
        """Return D, the width of the pooled features that the head of a classifier reads.

        Read on an unattached `backbone`, whose own width it is unless a method says otherwise.
        """
        return as_backbone(backbone).num_features

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return why the method cannot be attached, or None."""
        return None

    def refusal(self, backbone: nn.Module) -> str | None:
        """Return the reason of `unsupported`; of an unknown family, that it is unknown.

        What a method misses in such a network says nothing: it was looked for in no block.
        """
        reason = self.unsupported(backbone)
        return families.unknown(backbone) if reason and not families.find(backbone) else reason

    def count(self, backbone: nn.Module) -> int:
        """Return the number of trainable values on an unattached `backbone`, in closed form."""
        raise NotImplementedError

    def is_identity(self, backbone: nn.Module) -> bool:
        """Return whether attaching to this `backbone` leaves its function unchanged."""
        return self.identity

    def is_mergeable(self, backbone: nn.Module) -> bool:
        """Return whether what is trained on this `backbone` can be folded into its weights."""
        return self.mergeable

    def search_space(self) -> dict[str, Range]:
        """Return the ranges from which trials of an equal budget are drawn.

        Always of "lr" and "weight_decay", and of the fields in `ranges` that are at their default:
        a spec that sets such a field has chosen it.
        """
        lr = Range("lr", self.lr / 10, self.lr * 10, OURS + "a decade each way of the default")
        decay = Range("weight_decay", 1e-5, 1e-1, OURS + "1e-5 to .1")
        space, default = {"lr": lr, "weight_decay": decay}, type(self)()
        for r in self.ranges:
            value = getattr(self, r.name, None)
            if r.name not in space and not isinstance(value, float):
                raise InputError(
                    f"{self.name} searches {r.name!r}, which is neither lr nor weight_decay nor a "
                    "field of it that holds a float"
                )
            if r.name in space or value == getattr(default, r.name):
                space[r.name] = r
        return space

    def static(self) -> Method | None:
        """Return the method with what makes it depend on the image switched off, if anything does.

        The audit gives both the same weights and wants another output.
        """
        return None

    def fold(self, module: nn.Module) -> nn.Module:
        """Fold what was trained into the base weights of an attached `module` and return it."""
        raise InputError(f"{self} cannot be merged into the weights of the backbone")


def build(spec: str, *, recorded: bool = False) -> Method:
    """Return the method of a spec such as "lora(rank=8)" or "my_module:MyMethod(width=4)".

    `recorded` says that the spec is that of a cell, which lists every field there was at its time:
    a missing one is younger than the cell and gets the value that keeps the cell's meaning.

    Raises:
        InputError: for an unknown name or argument, a value the method refuses, or a module that
            cannot be imported.
    """
    name, arguments = parse_spec(spec)
    cls = _third_party(name) if ":" in name else _installed(name) or methods[name]
    with blamed(name):
        hints = typing.get_type_hints(cls)
        fields = dataclasses.fields(cls)
        known = [field.name for field in fields]
        for argument, value in arguments.items():
            if argument not in known:
                raise unknown(f"argument of method {name!r}:", argument, known or ["none"])
            if is_checked(hints[argument]):
                typed(hints[argument], value, f"{argument} of {name}")
        if recorded:
            before = {f.name: f.metadata["recorded"] for f in fields if "recorded" in f.metadata}
            arguments = before | arguments
        method = cls(**arguments)
        str(method)  # a cell's name needs it, so what is wrong with it is said here as well
    return method


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Turn what the code of a method raises in the block, an exit included, into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = " ".join(str(error).split())
        raise InputError(
            f"the method {name!r} cannot be used: {type(error).__name__}: {told} "
            f"({place.filename}, line {place.lineno})"
        ) from error


def of_cell(cell: Cell) -> Method:
    """Return the method that a cell trains: its spec, with what its trial changed of it."""
    method = build(cell.method, recorded=True)
    return dataclasses.replace(method, **parse_spec(f"tuned({cell.tuned})")[1])


def _installed(name: str) -> type[Method] | None:
    """Return the method that another installed package declares under `name`, if any."""
    if name in methods:
        return None
    found = importlib.metadata.entry_points(group=ENTRY_POINTS, name=name)
    return next((_third_party(point.value, name) for point in found), None)


def _third_party(path: str, name: str | None = None) -> type[Method]:
    module, _, attribute = path.partition(":")
    # relative names and paths would lead elsewhere than to what `import` finds
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise InputError(f"{path!r} names no class; write module:Class, as in my_methods:Mine")
    try:
        with blamed(path):
            cls = getattr(importlib.import_module(module), attribute)
    except InputError as error:
        if not isinstance(error.__cause__, ImportError | AttributeError):
            raise
        raise InputError(
            f"cannot load method {path!r}: {error.__cause__}; write module:Class"
        ) from None
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise InputError(f"{path!r} is not a subclass of methods.Method")
    cls.name = name or path
    return cls


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name, shared ones once."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def delta(module: nn.Module) -> dict[str, Tensor]:
    """Return what must be stored of an attached module: trained tensors and changed buffers."""
    before, stored = as_backbone(module).buffers_at_attach, _stored_buffers(module)
    changed = {
        name: buffer
        for name, buffer in stored.items()
        if name not in before or not torch.equal(buffer.cpu(), before[name].cpu())
    }
    return {**{n: p.detach() for n, p in trainable(module).items()}, **changed}


def _stored_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that are a part of what is stored of `module`, by name."""
    persistent = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name in persistent}


def load_delta(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors of `delta` into an attached module, in place; all or nothing.

    Raises:
        InputError: for a missing or unexpected name, or another shape.
    """
    before = as_backbone(module).buffers_at_attach
    # what a method chose from training images is no less needed than what it trained
    chosen = {n: b for n, b in _stored_buffers(module).items() if n not in before}
    wanted: dict[str, Tensor] = {**trainable(module), **chosen}
    places = wanted | dict(module.named_buffers())
    missing = sorted(wanted.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - places.keys())
    if missing or unexpected:
        raise InputError(
            f"this delta is of another method or backbone: {len(missing)} tensors are missing "
            f"{missing[:3]}, {len(unexpected)} are unexpected {unexpected[:3]}"
        )
    for name, tensor in tensors.items():
        if places[name].shape != tensor.shape:
            raise InputError(
                f"this delta is of another model: {name} has shape {tuple(tensor.shape)}, "
                f"the model wants {tuple(places[name].shape)}"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            places[name].copy_(tensor)


def merge(method: Method, module: nn.Module) -> nn.Module:
    """Fold `module`, trained with `method`, into plain weights; nothing is trainable after."""
    return method.fold(module).requires_grad_(False)
