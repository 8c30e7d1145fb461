"""Training steps of methods as multiples of the floor: time, bytes saved for backward, work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.bench import memory, subjects, timing
from benchmark.bench.subjects import FLOOR, FORWARD, PEFT, Batch, Subject
from benchmark.bench.timing import Estimate, Watch

MATMUL = "matmul"
_SIDES = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose rate is the roof


@dataclass(frozen=True)
class Row:
    """One line of the table. `kind` is "reference" (floor, forward), "method" or "peft"."""

    name: str
    kind: str
    step_s: float
    over_floor: Estimate
    saved_bytes: int
    saved_over_floor: float
    gflop_per_image: float
    roofline: Estimate
    images_per_s: float
    peak_mib: float | None


def measure(specs: Sequence[str], backbone: nn.Module, batch: Batch, watch: Watch) -> list[Row]:
    """Return a row for the floor, the forward pass, each method, and PEFT's twins of LoRA.

    `roofline` is the share of the rate of a large matrix product, measured in the same rounds.
    """
    found = {subject.name: subject for subject in collect(specs, backbone, batch)}
    matmul, matmul_flop = _matmul(batch)
    actions = {MATMUL: matmul, **{name: subject.step for name, subject in found.items()}}
    exact = {name: _exact(subject, batch) for name, subject in found.items()}
    seconds = timing.interleaved(actions, watch)
    rates = [matmul_flop / s for s in seconds[MATMUL]]
    rows = []
    for name, (saved, flop, peak) in exact.items():
        shares = [flop / s / r for s, r in zip(seconds[name], rates, strict=True)]
        step_s = median(seconds[name])
        rows.append(
            Row(
                name=name,
                kind=_kind(name),
                step_s=step_s,
                over_floor=timing.ratios(seconds, name, FLOOR),
                saved_bytes=saved,
                saved_over_floor=saved / exact[FLOOR][0],
                gflop_per_image=flop / len(batch.images) / 1e9,
                roofline=timing.estimate(shares),
                images_per_s=len(batch.images) / step_s,
                peak_mib=peak,
            )
        )
    return rows


def supported(specs: Sequence[str], backbone: nn.Module) -> tuple[list[str], dict[str, str]]:
    """Return the specs that `backbone` can take, and for each other one the reason why not."""
    reasons = {spec: subjects.unsupported(spec, backbone) for spec in specs}
    wrong = {spec: reason for spec, reason in reasons.items() if reason}
    return [spec for spec in specs if spec not in wrong], wrong


def collect(specs: Sequence[str], backbone: nn.Module, batch: Batch) -> list[Subject]:
    """Return the subjects of a table: floor and forward first, each PEFT twin after its method."""
    found = [subjects.floor(backbone, batch), subjects.forward_only(backbone, batch)]
    for spec in specs:
        found.append(subjects.of_method(spec, backbone, batch))
        twin = subjects.peft_twin(spec, backbone, batch)
        found += [twin] if twin else []
    return found


def _exact(subject: Subject, batch: Batch) -> tuple[int, int, float | None]:
    """Return (bytes saved for backward, FLOP of a step, peak MiB on a GPU)."""
    saved, owned = 0, memory.owned(subject.model, batch.images, batch.labels)
    own = sum(tensor.nbytes for tensor in owned)
    if subject.name != FORWARD:
        saved = memory.saved_bytes(subject.forward, owned)
        own += memory.training_bytes(subject.model)
    counter = FlopCounterMode(display=False)
    with counter:
        subject.step()
    peak = memory.peak_mib(subject.step, batch.images.device, own)
    return saved, counter.get_total_flops(), peak


def _kind(name: str) -> str:
    if name in (FLOOR, FORWARD):
        return "reference"
    return "peft" if name.startswith(PEFT) else "method"


def _matmul(batch: Batch) -> tuple[subjects.Action, int]:
    """Return a large square matrix product in the precision of the step, and its FLOP."""
    device = batch.images.device
    side = _SIDES.get(device.type, 2048)
    dtype = torch.bfloat16 if batch.precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: left @ right, 2 * side**3
