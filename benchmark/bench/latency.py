"""How long inference takes with a method attached, as trained and merged into the weights.

The bare backbone is timed in the same rounds, so that a slow minute hits all alike. What the
weights hold does not matter for the time; the head is the same for all methods and left out.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

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
from results.costs.ledger import CPU, LATENCY, Times

BARE = "backbone"


def measure(
    spec: str, name: str, backbone: nn.Module, image_size: int, watch: Watch, batch: int
) -> Times:
    """Return the times of a method on copies of the `backbone` called `name`.

    A batch is of `batch` images of that side.

    Raises:
        InputError: for a method that this backbone cannot take.
    """
    images = batch_of(batch, image_size, watch.device, "fp32").images
    method = methods.build(spec, recorded=True)
    body = method.attach(copy.deepcopy(backbone))
    forms = {BARE: copy.deepcopy(backbone), "ms": body}
    if method.is_mergeable(body):
        forms["merged_ms"] = methods.merge(method, copy.deepcopy(body))
    forms = {kind: form.to(watch.device).eval() for kind, form in forms.items()}
    with torch.inference_mode(), arithmetic(Settings()):
        actions = {kind: lambda form=form: form(images) for kind, form in forms.items()}
        counter = FlopCounterMode(display=False)
        with counter:
            forms["ms"](images)
        found = {kind: 1e3 * median(s) for kind, s in interleaved(actions, watch).items()}
    merged = forms.get("merged_ms")
    return Times(
        backbone=name,
        image_size=image_size,
        method=spec,
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
) -> Iterator[Times]:
    """Yield the times of every kind of cell in `folders`: backbone, image size and method.

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
            yield measure(spec, name, backbone, size, watch, batch)


def write(
    folders: Sequence[Path], out: Path, watch: Watch, batch: int, allowed: Collection[str] = ()
) -> Path:
    """Time all methods of the records in `folders`; write and return OUT/latency.json."""
    rows = [asdict(times) for times in of_records(folders, watch, batch, allowed)]
    machine = hardware(watch.device)
    device = machine["gpu"] if watch.device.type == "cuda" else CPU
    write_json(out / LATENCY, {"device": device, "batch": batch, "rows": rows})
    return out / LATENCY
