"""How well a step of training uses a GPU, its input included: a real cell is trained and watched.

MFU (model FLOP utilisation: Chowdhery et al. 2022, arXiv:2204.02311, appendix B) is the work of a
step over what the card could do in that time. Times are those of steps nobody looks into; what ran
on the card comes from a profile of steps after them, which the profiler makes slower.

Where there is no GPU, what a GPU alone can tell is None.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmark.bench import memory
from benchmark.core.cell import Cell
from benchmark.core.files import CHECKPOINT
from benchmark.training import run
from benchmark.training.arithmetic import arithmetic
from benchmark.training.fit import Setup, fit, set_mode
from benchmark.training.memory import reset_peak
from benchmark.training.session import Session
from benchmark.training.source import Source

WARM, TIMED, WATCHED = 5, 10, 3  # steps of a cell: before the clock, by the clock, profiled
STEPS = WARM + TIMED + WATCHED

# Peak rates of matrix products in bfloat16, summed in float32, without sparsity, in TFLOP/s, by
# what CUDA calls the card. From NVIDIA's data sheets, which print twice as much ("with sparsity")
# for most; GeForce and RTX A from the white papers of GA102, AD102 and Blackwell. A part of a card
# (MIG), or a card that is not here, has none.
PEAKS = {
    r"A10": 125.0,
    r"A30": 165.0,
    r"A40": 149.7,
    r"A100[- ](SXM4|PCIE|PCIe)-\d+GB|A100 \d+GB PCIe": 312.0,
    r"L4": 121.0,
    r"L40": 181.0,
    r"L40S": 362.0,
    r"H100 PCIe": 756.0,
    r"H100 NVL": 835.0,
    r"H100 80GB HBM3|H200|H200 NVL|GH200 480GB": 989.0,
    r"B200": 2250.0,
    r"(GeForce )?RTX 3090": 71.0,
    r"(GeForce )?RTX 4090": 165.2,
    r"(GeForce )?RTX 5090": 209.5,
    r"RTX A5000": 111.1,
    r"RTX A6000": 154.8,
    r"RTX 6000 Ada Generation": 364.2,
}


def peak_flops(card: str) -> float | None:
    """Return the peak rate of a card in bfloat16 in FLOP/s; None for one that is not known."""
    name = card.removeprefix("NVIDIA ")
    rates = [rate for pattern, rate in PEAKS.items() if re.fullmatch(pattern, name)]
    return rates[0] * 1e12 if rates else None


def utilisation(flop: float, seconds: float, peak: float) -> float:
    """Return the MFU of a step of so many FLOP and seconds on a card of this peak in FLOP/s."""
    return flop / (seconds * peak)


@dataclass(frozen=True)
class Activity:
    """What ran on a card while it was watched: seconds in which anything ran, kernels started."""

    busy_s: float
    kernels: int


def activity(events: Iterable[Mapping[str, Any]]) -> Activity:
    """Return what the events of a Chrome trace, as `torch.profiler` writes it, say of the card.

    Kernels of several streams overlap: time in which any of them ran counts once, and so does
    copying and filling of memory. Times in a trace are microseconds.
    """
    on_card = {"kernel", "gpu_memcpy", "gpu_memset"}
    found = [e for e in events if e.get("ph") == "X" and e.get("cat") in on_card]
    busy, end = 0.0, -np.inf
    for start, stop in sorted((e["ts"], e["ts"] + e["dur"]) for e in found):
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return Activity(busy / 1e6, sum(e["cat"] == "kernel" for e in found))


@dataclass(frozen=True)
class Held:
    """Bytes that training holds. `training`: gradients and AdamW's two moments.

    `activations` is what the backward pass needs: on a GPU what the rest leaves of the peak, with
    all that is held for a moment. `cache` is what torch keeps for later on a GPU.
    """

    weights: int
    training: int
    activations: int
    cache: int | None = None


def held(model: nn.Module, saved: int) -> Held:
    """Return what a model of this size holds, `saved` bytes for its backward pass."""
    tensors = [*model.parameters(), *model.buffers()]
    return Held(sum(t.nbytes for t in tensors), memory.training_bytes(model), saved)


def on_card(exact: Held, peak: int, reserved: int, others: int) -> Held:
    """Return the split of a card's `peak`: `others` bytes lie there for no part of the cell."""
    rest = peak - others - exact.weights - exact.training
    return replace(exact, activations=max(0, rest), cache=max(0, reserved - peak))


@dataclass(frozen=True)
class Usage:
    """One line: a method's step with its input. What a GPU alone can tell is None without one."""

    name: str
    step_s: float
    images_per_s: float
    mfu: float | None
    busy_share: float | None
    kernels_per_step: float | None
    held: Held


@dataclass
class Watcher:
    """Listens to the steps of a cell: times some, and then looks at what the card does."""

    device: torch.device
    trace: Path
    step_s: float = 0.0
    peak: int = 0
    reserved: int = 0
    seen: Activity | None = None
    _started: float = 0.0
    _profile: profile | None = field(default=None, repr=False)

    def __call__(self, step: int) -> None:
        """Take note of a step that was just done."""
        on_gpu = self.device.type == "cuda"
        if on_gpu and step in (WARM, WARM + TIMED, STEPS):
            torch.cuda.synchronize(self.device)
        if step == WARM:
            self._started = time.perf_counter()
        if step == WARM + TIMED:
            self.step_s = (time.perf_counter() - self._started) / TIMED
            if on_gpu:
                self.peak = torch.cuda.max_memory_allocated(self.device)
                self.reserved = torch.cuda.max_memory_reserved(self.device)
                self._profile = profile(activities=[ProfilerActivity.CUDA])
                self._profile.start()
        if self._profile is not None and step == STEPS:
            self._profile.stop()
            self._profile.export_chrome_trace(str(self.trace))
            self.seen = activity(json.loads(self.trace.read_text())["traceEvents"])


def measure(cell: Cell, session: Session, runs: Path) -> Usage:
    """Train `cell`, of more than `STEPS` steps, as `run` does, and return how it used the device.

    Raises:
        InputError: a method whose tensors no output of the backbone depends on.
    """
    device, batch, folder = session.device, cell.batch_size, cell.folder(runs)
    folder.mkdir(parents=True, exist_ok=True)
    watcher = Watcher(device, folder / "trace.json")
    with arithmetic(session.settings):
        backbone = session.backbone(cell)
        prepared = run.prepare(cell, session, session.data(cell), backbone, folder / CHECKPOINT)
        setup, splits = prepared.setup, prepared.splits
        exact = held(setup.model, _saved_bytes(setup, splits.train, batch))
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        reset_peak(device)
        fit(setup, splits.train, splits.val, cell, watcher)
    mfu = busy = kernels = None
    if watcher.seen is not None:
        exact = on_card(exact, watcher.peak, watcher.reserved, before - exact.weights)
        busy = watcher.seen.busy_s / WATCHED / watcher.step_s
        kernels = watcher.seen.kernels / WATCHED
        peak = peak_flops(torch.cuda.get_device_name(device))
        if peak and cell.precision == "bf16":
            mfu = utilisation(prepared.first_pass.gflop * 1e9 * batch, watcher.step_s, peak)
    return Usage(cell.method, watcher.step_s, batch / watcher.step_s, mfu, busy, kernels, exact)


def _saved_bytes(setup: Setup, train: Source, batch: int) -> int:
    """Return the bytes that one step keeps for its backward pass."""
    images, targets = train.still(np.arange(batch) % len(train), setup.device)
    set_mode(setup.model, setup.live_batch_norm)

    def forward() -> Tensor:
        with setup.autocast():
            return setup.task.loss(setup.model(images), targets)

    return memory.saved_bytes(forward, memory.owned(setup.model, images, targets))
