"""The parts of a bench, each a function that measures and returns a table and its JSON values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark import backbones
from benchmark.bench import card, inputs, opening, overhead, show, steps, subjects, usage
from benchmark.bench.timing import Watch
from benchmark.core.spec import split_list
from benchmark.sweep.resolve import precision
from benchmark.training.session import has_bfloat16

NUM_JPEGS = 128
INPUT_SIDE = 288
FILE_SIDES = (INPUT_SIDE, 600)  # files made small beforehand, and files as sets bring them
NUM_SMALL = 30  # images of the cells whose overhead is measured


@dataclass(frozen=True)
class Order:
    """What to measure; `image_size` None is the backbone's own.

    `data_images` are decoded, and sets of `data_rows` are opened.
    """

    methods: str
    backbone: str
    image_size: int | None = None
    batch_size: int = 16
    precision: str = "auto"
    style: str = "terminal"
    data_images: int = 256
    data_rows: int = 100_000


def _precision(order: Order, watch: Watch) -> str:
    return precision(order.precision, on_gpu=has_bfloat16(watch.device))


Part = Callable[[Order, Watch], tuple[str, dict[str, Any]]]


def of_steps(order: Order, watch: Watch) -> tuple[str, dict[str, Any]]:
    """Return the table of training steps; the floor is measured beside them."""
    side = order.image_size or backbones.resolve(order.backbone).default_size
    model = backbones.create(order.backbone, side).to(watch.device)
    batch = subjects.batch_of(
        order.batch_size,
        side,
        watch.device,
        _precision(order, watch),
    )
    specs, wrong = steps.supported(split_list(order.methods), model)
    rows = steps.measure(specs, model, batch, watch)
    title = (
        f"{order.backbone}, {side} px, batch {order.batch_size}, {batch.precision}, "
        f"{watch.clock} clock, {watch.rounds} rounds of {watch.repeats}:"
    )
    values = {"methods": [show.method_json(row) for row in rows]}
    return f"{title}\n\n{show.steps(rows, order.style)}{_not_done(wrong)}", values


def of_input(order: Order, watch: Watch) -> tuple[str, dict[str, Any]]:
    """Return the table of the input pipeline, and how long a LoRA step waits for its batch."""
    side = order.image_size or backbones.resolve(order.backbone).default_size
    with TemporaryDirectory() as folder:
        rates = [
            rate
            for file_side in FILE_SIDES
            for rate in inputs.measure(Path(folder), NUM_JPEGS, INPUT_SIDE, file_side, watch)
        ]
        subset = inputs.open_subset(inputs.folder_of(Path(folder), "RGB", INPUT_SIDE), side)
        model = backbones.create(order.backbone, side).to(watch.device)
        batch = subjects.batch_of(
            order.batch_size,
            side,
            watch.device,
            _precision(order, watch),
        )
        step = subjects.of_method("lora", model, batch).step
        wait = inputs.wait_share(subset, order.batch_size, step, watch)
    text = f"input at {INPUT_SIDE} px, batch {inputs.BATCH}, wall clock, JPEG with 2 workers:"
    values = {"input": show.input_json(rates, wait)}
    return f"{text}\n\n{show.inputs(rates, wait, order.style)}", values


def of_usage(order: Order, watch: Watch) -> tuple[str, dict[str, Any]]:
    """Return the table of how real steps use the device: work, time, kernels and memory."""
    side = order.image_size or backbones.resolve(order.backbone).default_size
    model = backbones.create(order.backbone, side)
    specs, wrong = steps.supported(split_list(order.methods), model)
    del model  # its memory is not to be counted
    with TemporaryDirectory() as folder:
        bench = card.Bench(Path(folder), watch.device)
        session = bench.session()
        axes = {"image_size": side, "batch_size": order.batch_size, "augment": "default"}
        axes |= {"precision": _precision(order, watch), "steps": usage.STEPS + 1}
        cells = {spec: bench.cell(spec, order.backbone, **axes) for spec in specs}
        measured = {s: usage.measure(c, session, Path(folder)) for s, c in cells.items()}
    rows = [replace(row, name=spec) for spec, row in measured.items()]
    title = (
        f"steps with their input: {order.backbone}, {side} px, batch {order.batch_size}, "
        f"{axes['precision']}, augmented, generated images:"
    )
    values = {"usage": [show.usage_json(row) for row in rows]}
    return f"{title}\n\n{show.usage(rows, order.style)}{_not_done(wrong)}", values


def _not_done(wrong: dict[str, str]) -> str:
    return "".join(f"\n{spec}: n/a, {reason}" for spec, reason in wrong.items())


def of_overhead(order: Order, watch: Watch) -> tuple[str, dict[str, Any]]:
    """Return the table of what a cell costs beside its training, by the wall clock."""
    with TemporaryDirectory() as folder:
        images = inputs.write_jpegs(Path(folder) / "images", NUM_SMALL, 64)
        found = overhead.measure(images, order.backbone)
    return show.overhead(found, order.style), {"overhead": show.overhead_json(found)}


def of_data(order: Order, watch: Watch) -> tuple[str, dict[str, Any]]:
    """Return the tables of preparing and of opening a data set, by the wall clock."""
    with TemporaryDirectory() as folder:
        prepared = opening.prepare(Path(folder), order.data_images, watch)
        opened = opening.open_rows(Path(folder), order.data_rows)
    title = (
        f"preparing {order.data_images} JPEG files of {opening.FILE_SIDE} px at {opening.SIDE} px, "
        f"and opening {order.data_rows:,} files:"
    )
    values = {"data": show.data_json(prepared, opened)}
    return f"{title}\n\n{show.data(prepared, opened, order.style)}", values


PARTS: dict[str, Part] = {
    "steps": of_steps,
    "input": of_input,
    "overhead": of_overhead,
    "usage": of_usage,
    "data": of_data,
}
