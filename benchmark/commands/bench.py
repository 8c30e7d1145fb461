"""Measure speed on this machine: training steps over a floor, input, overhead, data, planning."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands._axes import a_path, flag
from benchmark.core.numbers import COUNT, Number
from benchmark.core.registry import InputError

if TYPE_CHECKING:
    from benchmark.bench.timing import Watch

METHODS = (
    "full,bitfit,lora,lora(targets=qkv),lora(targets=qkv+proj+fc1+fc2),adaptformer,houlsby,"
    "convpass,vpt_deep,vpt_shallow(prompts=50),dvpt,dvpt(merge=rows),linear"
)
PARTS = ("steps", "input", "overhead", "usage", "data")
MANY = Number(int, above=0, most=1_000_000)
THREADS = Number(int, least=0, most=1024)
CELLS = Number(int, above=0, most=10_000_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument(
        "--methods", default=METHODS, metavar="A,B", help="methods (default: thirteen)"
    )
    parser.add_argument("--backbone", default="vit_s14_imgfocus")
    parser.add_argument("--image-size", type=flag(COUNT), help="side; left out: the backbone's own")
    parser.add_argument("--batch-size", type=flag(MANY), default=16)
    parser.add_argument(
        "--precision", default="auto", help="auto (bf16 on a GPU that has it), fp32, bf16"
    )
    parser.add_argument(
        "--rounds", type=flag(MANY), default=5, help="over which intervals are (default: 5)"
    )
    parser.add_argument(
        "--repeats", type=flag(MANY), default=3, help="steps of each method in a round (default: 3)"
    )
    parser.add_argument(
        "--threads",
        type=flag(THREADS),
        default=0,
        help="threads of torch (default: as many as it takes)",
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time of training steps, for one thread on a shared machine",
    )
    parser.add_argument(
        "--parts",
        metavar="A,B",
        help="of steps, input, overhead, usage (of a GPU: MFU, share of time in kernels, kernels "
        "per step, memory), data (preparing, opening; minutes) (default: steps,input,overhead, "
        "and on a GPU usage)",
    )
    for name, number in (("images", 256), ("rows", 100_000)):
        what = f"with --parts data: {name} of the set that is measured (default: {number})"
        parser.add_argument(
            f"--data-{name}", type=flag(MANY), default=number, metavar="N", help=what
        )
    parser.add_argument("--plan-sizes", metavar="A,B", help="measure planning of so many cells")
    parser.add_argument(
        "--doctor-gpu", action="store_true", help="check instead whether this GPU is used well"
    )
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.add_argument("--json", type=a_path, metavar="FILE", help="write all values as JSON too")


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; nothing is asserted."""
    import torch

    from benchmark.core.files import check_writable, write_json
    from benchmark.core.settings import Settings
    from benchmark.training.arithmetic import arithmetic
    from benchmark.training.provenance import hardware

    parts = check(arguments)
    if arguments.doctor_gpu:
        return _doctor()
    if arguments.json:
        check_writable(arguments.json)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    watch = _watch(arguments)
    with arithmetic(Settings()):  # as cells are trained: in fp32 no convolution uses TF32
        machine = hardware(watch.device)
        print(", ".join(f"{name}: {value}" for name, value in machine.items() if value))
        values = (
            _plans(arguments)
            if arguments.plan_sizes is not None
            else _measure(arguments, parts, watch)
        )
    if arguments.json:
        settings = {n: v for n, v in vars(arguments).items() if n not in ("json", "verb")}
        write_json(arguments.json, {"machine": machine, "settings": settings, **values})
    return 0


def check(arguments: argparse.Namespace) -> list[str]:
    """Return the parts asked for, none where that is open; an unknown one raises InputError."""
    from benchmark.core.registry import unknown
    from benchmark.core.spec import split_list

    if sum(map(bool, (arguments.doctor_gpu, arguments.plan_sizes, arguments.parts))) > 1:
        raise InputError(
            "--doctor-gpu, --plan-sizes and --parts exclude each other; leave all but one out"
        )
    parts = [] if arguments.parts is None else split_list(arguments.parts)
    for part in parts:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
    return parts


def _watch(arguments: argparse.Namespace) -> Watch:
    import torch

    from benchmark.bench.timing import Watch
    from benchmark.training.session import best_device, check_card

    device = best_device()
    check_card(device)
    if arguments.clock == "cpu" and (device.type != "cpu" or torch.get_num_threads() > 1):
        raise InputError("--clock cpu needs --threads 1 and no GPU: it counts one processor's time")
    return Watch(device, arguments.rounds, arguments.repeats, arguments.clock)


def _measure(arguments: argparse.Namespace, parts: list[str], watch: Watch) -> dict[str, Any]:
    from benchmark.bench import tables

    order = tables.Order(
        methods=arguments.methods,
        backbone=arguments.backbone,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        style=arguments.format,
        data_images=arguments.data_images,
        data_rows=arguments.data_rows,
    )
    values: dict[str, Any] = {}
    for part in parts or (PARTS[:4] if watch.device.type == "cuda" else PARTS[:3]):
        text, found = tables.PARTS[part](order, watch)
        print(f"\n{text}")
        values |= found
    return values


def _plans(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print and return what planning costs."""
    from benchmark.bench import plans, show

    sizes = {CELLS.read(size, "--plan-sizes") for size in arguments.plan_sizes.split(",")}
    scales = plans.measure(sorted(sizes))
    print("\n" + show.plans(scales, arguments.format))
    return {"plans": show.plans_json(scales)}


def _doctor() -> int:
    """Print a line per check of the GPU; return 1 where one does not hold."""
    import tempfile

    from benchmark.bench import card
    from benchmark.training.session import best_device

    passed = True
    with tempfile.TemporaryDirectory() as folder:
        for verdict in card.doctor(Path(folder), best_device()):
            passed &= verdict.passed
            print(f"{'pass' if verdict.passed else 'FAIL'}  {verdict.name}: {verdict.text}")
    return 0 if passed else 1
