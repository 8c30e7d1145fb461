"""`bench --doctor-gpu`: ten minutes on a card that show whether this project runs well on it.

Each check trains cells of generated images on untrained networks, so it needs no data, weights or
network. A check that does not hold says what it saw.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.bench import usage
from benchmark.core.cell import Cell
from benchmark.core.record import Record
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training import memory
from benchmark.training.arithmetic import arithmetic
from benchmark.training.provenance import hardware
from benchmark.training.run import run
from benchmark.training.session import Session

LARGE, SIDE, BATCH, SMALL_BATCH = "random:vit_b16_in21k", 224, 64, 8
INPUT_SHARE = 0.15  # of a step that augmentation may cost
GRAPH = 0.02  # share of the loss by which rounding may differ where kernels are fused
FULL_BATCH, MFU = 256, 0.4  # the goal of benchmark/bench/README.md, for LoRA on ViT-B/16
LEAST_BATCH = 32  # of a card with less memory: halves are tried down to it
BUSY = 0.9  # share of the time in kernels, for a card whose peak is not known


@dataclass(frozen=True)
class Verdict:
    """What a check found, in one sentence."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Bench:
    """Where the cells of the checks are trained; `small` takes tiny networks, for a try-out."""

    folder: Path
    device: torch.device
    small: bool = False

    def cell(self, method: str, backbone: str = LARGE, **axes: Any) -> Cell:
        """Return a short cell of the generated grading set."""
        side, batch = (32, SMALL_BATCH) if self.small else (SIDE, BATCH)
        network = "tiny_vit" if self.small and backbone == LARGE else backbone
        short = Grid(
            (method,),
            (network,),
            ("phantom_grading",),
            (1.0,),
            seeds=(0,),
            augment=("none",),
            steps=(10,),
            evaluations=(1,),
            image_size=(side,),
            batch_size=(batch,),
            precision=("bf16",),
        )
        (cell,) = Resolver().cells([replace(short, **{k: (v,) for k, v in axes.items()})])
        return cell

    def train(self, cell: Cell, name: str, session: Session | None = None) -> Record:
        """Return the record of a cell trained afresh in the folder `name`."""
        record = run(cell, session or self.session(), self.folder / name)
        assert record is not None
        return record

    def session(self, settings: Settings | None = None, card_share: float = 0.25) -> Session:
        """Return a fresh session on the device."""
        cache, settings = self.folder / "cache", settings or Settings()
        return Session(cache, {}, self.device, settings=settings, card_share=card_share)


def mixed_types(bench: Bench) -> Verdict:
    """Adapters on Swin train in bfloat16: its norms meet inputs of another type than weights."""
    loss = bench.train(bench.cell("adaptformer", "tiny_swin", image_size=32), "mixed").test["loss"]
    return Verdict("bf16 adapters on Swin", bool(np.isfinite(loss or np.nan)), f"loss {loss}")


def peak_of_its_own(bench: Bench) -> Verdict:
    """The peak memory of a small cell after a large one is its own."""
    session = bench.session()
    large = bench.train(bench.cell("full"), "peaks", session).cost.peak_mib
    small = bench.train(bench.cell("linear"), "peaks", session).cost.peak_mib
    text = f"full {large:.0f} MiB, then linear {small:.0f} MiB in the same process"
    return Verdict("peak memory per cell", small < 0.8 * large, text)


def input_is_cheap(bench: Bench) -> Verdict:
    """Augmentation costs a small share of a step: the card does not wait for the host."""
    seconds = {}
    for policy in ("none", "default"):
        cell = bench.cell("lora", augment=policy, steps=60)
        bench.train(replace(cell, steps=5), "warm")
        started = time.perf_counter()
        bench.train(cell, "input")
        seconds[policy] = time.perf_counter() - started
    share = 1 - seconds["none"] / seconds["default"]
    text = f"{100 * share:.0f} % of a cell of 60 steps is augmentation"
    return Verdict("input", share < INPUT_SHARE, text)


def repeats(bench: Bench) -> Verdict:
    """A cell trained twice in deterministic mode has the same losses, bit for bit."""
    cell, exact = bench.cell("lora"), Settings(deterministic=True)
    found = [bench.train(cell, f"again{i}", bench.session(exact)).history for i in (0, 1)]
    text = "equal histories" if found[0] == found[1] else f"{found[0][-1]} and {found[1][-1]}"
    return Verdict("deterministic mode", found[0] == found[1], text)


def fetched_ahead(bench: Bench) -> Verdict:
    """Batches that a thread sends on a stream of its own are those picked from the card's memory.

    A step that read one before it was whole would have another loss.
    """
    cell, exact = bench.cell("lora", augment="default", steps=30), Settings(deterministic=True)
    found = [
        bench.train(cell, f"share{share}", bench.session(exact, share)).history
        for share in (0.0, 0.25)
    ]
    text = "equal histories" if found[0] == found[1] else f"{found[0][-1]} and {found[1][-1]}"
    return Verdict("batches made ahead", found[0] == found[1], text)


def single_precision(bench: Bench) -> Verdict:
    """fp32 is fp32: a convolution differs from double precision by rounding, not as in TF32."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 64, 16, 16).to(bench.device)
    images = torch.randn(8, 3, 224, 224, device=bench.device)
    with torch.no_grad(), arithmetic(Settings()):
        found = layer(images).double()
        exact = layer.double()(images.double())
    worst = float((found - exact).abs().max() / exact.abs().max())
    return Verdict("fp32 without TF32", worst < 1e-5, f"relative error {worst:.1e}")


def memory_ends(bench: Bench) -> Verdict:
    """Where memory ends, fewer images go through at once, and the rest of the pass is done."""
    free = memory.free_bytes(bench.device) if bench.device.type == "cuda" else 1 << 26
    each = free // 100  # bytes that one of 256 images takes

    def take(positions: np.ndarray) -> int:
        if bench.device.type == "cuda":
            torch.empty(each * len(positions), dtype=torch.uint8, device=bench.device)
        elif each * len(positions) > free:
            raise MemoryError
        return len(positions)

    chunks = memory.Chunks(256)
    done = sum(chunks.map(300, take))
    text = f"{done} of 300 images, {chunks.size} at once in the end"
    return Verdict("out of memory", done == 300 and chunks.size < 256, text)


def shared(bench: Bench) -> Verdict:
    """Another process may use the card at once exactly where its mode says so."""
    mode = hardware(bench.device).get("compute_mode")
    torch.zeros(1, device=bench.device)  # this process uses it
    other = [sys.executable, "-c", f"import torch; torch.zeros(1, device='{bench.device}')"]
    works = subprocess.run(other, capture_output=True, timeout=300).returncode == 0
    text = f"compute mode {mode}, a second process {'works' if works else 'is refused'}"
    return Verdict("processes that share it", works == (mode == "Default"), text)


def graphed(bench: Bench) -> Verdict:
    """A cell whose passes are sent as CUDA graphs learns what it learns without them."""
    cell = bench.cell("lora", batch_size=16)
    sent = bench.train(cell, "graphed", bench.session(Settings(cuda_graph=True))).history[-1]
    usual = bench.train(cell, "launched").history[-1]
    losses = [point["train_loss"] or np.nan for point in (sent, usual)]
    text = f"loss {losses[0]:.4f}, launched one by one {losses[1]:.4f}"
    return Verdict("CUDA graph", abs(losses[0] - losses[1]) < GRAPH * losses[1], text)


def well_used(bench: Bench) -> Verdict:
    """A step with its input, at a batch that fills a card, does the share of work that it can."""
    batch = SMALL_BATCH if bench.small else FULL_BATCH
    found = None
    while found is None:
        try:
            found = _usage(bench, batch)
        except RuntimeError as error:
            if not memory.is_out_of_memory(error) or batch <= LEAST_BATCH:
                raise
        if found is None:  # here, where no traceback holds tensors any more
            batch //= 2
            torch.cuda.empty_cache()
    busy = f"batch {batch}, {found.images_per_s:.0f} images/s"
    if found.busy_share is not None:
        busy += f", busy {found.busy_share:.0%}, {found.kernels_per_step:.0f} kernels a step"
    if found.mfu is None:
        return Verdict("use of the card", (found.busy_share or 0) >= BUSY, f"{busy}, MFU unknown")
    text = f"MFU {found.mfu:.0%} (goal {MFU:.0%}), {busy}"
    return Verdict("use of the card", found.mfu >= MFU, text)


def _usage(bench: Bench, batch: int) -> usage.Usage:
    side = 32 if bench.small else SIDE
    axes: dict[str, Any] = {"augment": "default", "steps": usage.STEPS + 1}
    cell = bench.cell("lora", image_size=side, batch_size=batch, **axes)
    return usage.measure(cell, bench.session(), bench.folder)


CHECKS: tuple[Callable[[Bench], Verdict], ...] = (
    mixed_types,
    peak_of_its_own,
    input_is_cheap,
    repeats,
    fetched_ahead,
    single_precision,
    memory_ends,
    shared,
    graphed,
    well_used,
)


def doctor(folder: Path, device: torch.device, *, small: bool = False) -> Iterator[Verdict]:
    """Yield a verdict per check; a check that raises does not hold, and the next ones go on.

    Raises:
        InputError: there is no GPU, or it was lost.
    """
    if device.type != "cuda" and not small:
        raise InputError("there is no GPU here: --doctor-gpu is about one")
    bench = Bench(folder, device, small)
    for check in CHECKS:
        try:
            yield check(bench)
        except Exception as error:
            yield Verdict(check.__name__.replace("_", " "), False, " ".join(str(error).split()))
            if memory.is_device_lost(error):
                raise InputError(
                    "the GPU was lost; the checks that are left were not run"
                ) from None
