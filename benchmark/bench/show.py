"""The bench as text and as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from tabulate import tabulate

from benchmark.bench.inputs import Rate
from benchmark.bench.opening import Opening, Preparing
from benchmark.bench.overhead import Overhead
from benchmark.bench.plans import STAGES, Scale
from benchmark.bench.steps import Row
from benchmark.bench.timing import Estimate
from benchmark.bench.usage import Usage

Style = str  # "terminal" or "markdown"
_FORMATS = {"terminal": "simple", "markdown": "github"}


def steps(rows: Sequence[Row], style: Style = "terminal") -> str:
    """Return the table of training steps."""
    header = ["", "step / floor", "saved / floor", "GFLOP/img", "of matmul rate", "img/s"]
    with_peak = any(row.peak_mib is not None for row in rows)
    lines = [
        [
            row.name,
            str(row.over_floor),
            f"{row.saved_over_floor:.2f}",
            f"{row.gflop_per_image:.2f}",
            f"{row.roofline.median:.2f}",
            f"{row.images_per_s:.1f}",
            *([f"{row.peak_mib:.0f}"] if with_peak else []),
        ]
        for row in rows
    ]
    return _table([*header, *(["peak MiB"] if with_peak else [])], lines, style)


def usage(rows: Sequence[Usage], style: Style = "terminal") -> str:
    """Return the table of how steps with their input use the device."""
    lines = [
        [
            row.name,
            f"{1e3 * row.step_s:.1f}",
            f"{row.images_per_s:.1f}",
            _of_gpu(row.mfu, "{:.1%}"),
            _of_gpu(row.busy_share, "{:.0%}"),
            _of_gpu(row.kernels_per_step, "{:.0f}"),
            *(
                _of_gpu(None if part is None else part / 2**20, "{:.0f}")
                for part in astuple(row.held)
            ),
        ]
        for row in rows
    ]
    header = ["", "ms/step", "img/s", "MFU", "busy", "kernels/step"]
    parts = ["weights MiB", "gradients + AdamW MiB", "activations MiB", "cache MiB"]
    return _table([*header, *parts], lines, style)


def _of_gpu(value: float | None, form: str) -> str:
    return "no GPU" if value is None else form.format(value)


def inputs(rates: Sequence[Rate], wait: float | None, style: Style = "terminal") -> str:
    """Return the table of the input pipeline, and the share of a step that waits for it."""
    lines = [
        [r.name, f"{r.images_per_s:.0f}", f"{r.jpeg_images_per_s:.0f}", str(r.ratio)] for r in rates
    ]
    text = _table(["input", "cache img/s", "JPEG img/s", "ratio"], lines, style)
    if wait is not None:
        text += f"\n\nshare of a training step that waits for its batch: {100 * wait:.1f} %"
    return text


def overhead(found: Overhead, style: Style = "terminal") -> str:
    """Return the table of overheads per cell."""
    lines = [
        ["one process per cell", str(found.cold_s)],
        ["further cell, warm process", str(found.warm_s)],
        ["of it until the model is ready", str(found.start_s)],
    ]
    return _table(["overhead of a cell", "seconds"], lines, style)


def data(
    prepared: Sequence[Preparing], opened: Sequence[Opening], style: Style = "terminal"
) -> str:
    """Return the tables of decoding rates and of seconds to open."""
    rates = [[p.name, f"{p.images_per_s:.1f}", str(p.over_whole)] for p in prepared]
    times = [[o.name, f"{o.seconds:.3g}", f"{o.rows / o.seconds:,.0f}"] for o in opened]
    decoding = _table(["decoding", "img/s", "times as fast"], rates, style)
    return decoding + "\n\n" + _table(["opening", "seconds", "rows/s"], times, style)


def plans(scales: Sequence[Scale], style: Style = "terminal") -> str:
    """Return the table of seconds over numbers of cells, and milliseconds per added cell."""
    lines = [[str(s.cells), *(f"{s.seconds[name]:.2f}" for name in STAGES)] for s in scales]
    for before, after in itertools.pairwise(scales):
        added = after.cells - before.cells
        costs = (1e3 * (after.seconds[n] - before.seconds[n]) / added for n in STAGES)
        lines.append(
            [f"ms per cell, {before.cells} to {after.cells}", *(f"{c:.2f}" for c in costs)]
        )
    return _table(["cells", *(f"{name} s" for name in STAGES)], lines, style)


def _table(header: list[str], lines: list[list[str]], style: Style) -> str:
    return tabulate(lines, header, tablefmt=_FORMATS[style], disable_numparse=True)


def method_json(row: Row) -> dict[str, Any]:
    """Return the JSON form of one row."""
    return {
        "method": row.name,
        "kind": row.kind,
        **_spread("step_over_floor", row.over_floor),
        "saved_bytes": row.saved_bytes,
        "saved_bytes_over_floor": row.saved_over_floor,
        "gflop_per_image": row.gflop_per_image,
        **_spread("roofline_share", row.roofline),
        "images_per_s": row.images_per_s,
        "step_s": row.step_s,
        "peak_mib": row.peak_mib,
    }


def usage_json(row: Usage) -> dict[str, Any]:
    """Return the JSON form of one row."""
    values = asdict(row)
    memory = values.pop("held")
    return {
        "method": values.pop("name"),
        **values,
        **{f"{k}_bytes": v for k, v in memory.items()},
    }


def input_json(rates: Sequence[Rate], wait: float | None) -> dict[str, Any]:
    """Return the JSON form of the input pipeline."""
    values: dict[str, Any] = {
        r.name: {
            "images_per_s": r.images_per_s,
            "jpeg_images_per_s": r.jpeg_images_per_s,
            **_spread("over_jpeg", r.ratio),
        }
        for r in rates
    }
    return values | {"wait_share": wait}


def data_json(prepared: Sequence[Preparing], opened: Sequence[Opening]) -> dict[str, Any]:
    """Return the JSON form of preparing and opening."""
    rates = {
        p.name: {"images_per_s": p.images_per_s, **_spread("over_whole", p.over_whole)}
        for p in prepared
    }
    return {"preparing": rates, "opening": [asdict(o) for o in opened]}


def overhead_json(found: Overhead) -> dict[str, Any]:
    """Return the JSON form of the overheads."""
    parts = (("cold_s", found.cold_s), ("warm_s", found.warm_s), ("start_s", found.start_s))
    return {key: value for name, part in parts for key, value in _spread(name, part).items()}


def plans_json(scales: Sequence[Scale]) -> list[dict[str, Any]]:
    """Return the JSON form of the scales."""
    return [asdict(scale) for scale in scales]


def _spread(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.median, f"{name}_low": found.low, f"{name}_high": found.high}
