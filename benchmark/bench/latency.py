"""How long inference takes with a method attached, as trained and merged into the weights.

The bare backbone is timed in the same rounds, so that a slow minute hits all alike. What the
weights hold does not matter for the time; the head is the same for all methods and left out.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import methods
from benchmark import backbones
from benchmark.bench.subjects import batch_of
from benchmark.bench.timing import Watch, interleaved
from benchmark.core.files import write_json
from benchmark.core.record import read_records
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.trained import check_code
from benchmark.training.arithmetic import arithmetic
from benchmark.training.provenance import hardware

NAME = "latency.json"
BARE = "backbone"
CPU = "cpu"


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one batch (medians), GFLOP of one image; None where nothing can be merged.

    `active` and `merged_active` are the values that each form holds.
    """

    ms: float
    bare_ms: float
    gflop: float
    active: int
    merged_ms: float | None = None
    merged_active: int | None = None


def measure(spec: str, backbone: nn.Module, image_size: int, watch: Watch, batch: int) -> Latency:
    """Return the latency of a method on copies of `backbone`, batches of `batch` images.

    Raises:
        InputError: for a method that this backbone cannot take.
    """
    images = batch_of(batch, image_size, watch.device, "fp32").images
    method = methods.build(spec, recorded=True)
    body = method.attach(copy.deepcopy(backbone))
    forms = {BARE: copy.deepcopy(backbone), "ms": body}
    if method.is_mergeable(body):
        forms["merged_ms"] = methods.merge(method, copy.deepcopy(body))
    forms = {name: form.to(watch.device).eval() for name, form in forms.items()}
    with torch.inference_mode(), arithmetic(Settings()):
        actions = {name: lambda form=form: form(images) for name, form in forms.items()}
        counter = FlopCounterMode(display=False)
        with counter:
            forms["ms"](images)
        found = {name: 1e3 * median(ms) for name, ms in interleaved(actions, watch).items()}
    merged = forms.get("merged_ms")
    return Latency(
        ms=found["ms"],
        bare_ms=found[BARE],
        gflop=counter.get_total_flops() / batch / 1e9,
        active=_size(forms["ms"]),
        merged_ms=found.get("merged_ms"),
        merged_active=None if merged is None else _size(merged),
    )


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def of_records(
    folders: Sequence[Path], watch: Watch, batch: int, allowed: Collection[str] = ()
) -> Iterator[tuple[dict[str, Any], Latency]]:
    """Yield (backbone, image size and method, its latency) of every kind of cell in `folders`.

    Raises:
        InputError: when there is no finished cell, or a method of the user's own that is not
            `allowed` to be imported.
    """
    kinds: dict[tuple[str, int], list[str]] = {}
    for cell in (record.cell for runs in folders for record in read_records(runs)[0]):
        check_code(cell.method, allowed)
        kinds.setdefault((cell.backbone, cell.image_size), []).append(cell.method)
    if not kinds:
        named = ", ".join(repr(str(runs)) for runs in folders)
        raise InputError(f"there is no finished cell below {named} to time")
    for (name, size), specs in kinds.items():
        backbone = backbones.create(name, size)
        for spec in sorted(set(specs)):
            where = {"backbone": name, "image_size": size, "method": spec}
            yield where, measure(spec, backbone, size, watch, batch)


def write(
    folders: Sequence[Path], out: Path, watch: Watch, batch: int, allowed: Collection[str] = ()
) -> Path:
    """Time all methods of the records in `folders`; write and return OUT/latency.json."""
    found = of_records(folders, watch, batch, allowed)
    rows = [{**where, **asdict(latency)} for where, latency in found]
    machine = hardware(watch.device)
    device = machine["gpu"] if watch.device.type == "cuda" else CPU
    write_json(out / NAME, {"device": device, "batch": batch, "rows": rows})
    return out / NAME
