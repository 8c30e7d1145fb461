"""Where the numbers of a page come from: protocol, data, weights, code and machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from benchmark.core.record import DataSummary, Record

About = list[dict[str, Any]]  # sections: {"title": ..., "rows": [[name, value], ...]}
AXES = {
    "seed": "training seeds",
    "split_seed": "split seeds",
    "trials": "trials per entry",
    "steps": "optimiser steps",
    "batch_size": "batch size",
    "lr": "learning rates (of the chosen trials)",
    "head_lr": "learning rates of the head (0: the cell's own)",
    "weight_decay": "weight decay",
    "tuned": "fields of methods (of the chosen trials)",
    "warmup": "warm-up",
    "clip": "largest gradient norm",
    "evaluations": "evaluations on validation",
    "image_size": "image size",
    "augment": "augmentation",
    "balance": "against imbalance",
    "output": "output",
    "precision": "precision",
}


def provenance(chosen: pd.DataFrame, records: Sequence[Record]) -> About:
    """Return sections of (name, value) rows about the `chosen` cells behind the numbers."""
    sections = {
        "Protocol": _protocol(chosen),
        "Data": list(_data(records)),
        "Weights": list(_weights(records)),
        "Code and machines": list(_origin(records)),
    }
    return [{"title": title, "rows": rows} for title, rows in sections.items() if rows]


def counted(values: Iterable[object]) -> str:
    """Return distinct values with how many cells have each, the most frequent first."""
    counts = Counter(map(str, values)).most_common()
    if len(counts) == 1:
        return counts[0][0]
    return ", ".join(f"{value} ({count} cells)" for value, count in counts)


def _protocol(chosen: pd.DataFrame) -> list[list[str]]:
    rows = []
    for name, title in AXES.items():
        if name in chosen and len(
            values := chosen[name].dropna().drop_duplicates().loc[lambda v: v != ""]
        ):
            shown = sorted(values, key=lambda v: (isinstance(v, str), v))
            rows.append([title, ", ".join(f"{v:g}" if _is_number(v) else str(v) for v in shown)])
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _data(records: Sequence[Record]) -> Iterable[list[str]]:
    kinds: dict[tuple[str, str], list[DataSummary]] = {}
    for r in records:
        kinds.setdefault((r.cell.dataset, r.cell.data), []).append(r.data)
    for (name, fingerprint), facts in sorted(kinds.items()):
        first = facts[0]
        parts = [f"fingerprint {fingerprint}", first.task]
        if first.classes:
            parts.append(f"{len(first.classes)} classes: {', '.join(first.classes)}")
        parts.append(f"test: {counted(_tested(f) for f in facts)}")
        if first.synthetic:
            parts.append("synthetic: no evidence about patients")
        yield [name, "; ".join(filter(None, parts))]


def _tested(data: DataSummary) -> str:
    return f"{data.test or '?'} images of {data.groups_test or '?'} groups"


def _weights(records: Sequence[Record]) -> Iterable[list[str]]:
    kinds: dict[tuple[str, str], Record] = {}
    for r in records:
        kinds.setdefault((r.cell.backbone, r.cell.weights), r)
    for (name, fingerprint), r in sorted(kinds.items()):
        used = r.provenance.get("preprocessing", {})
        parts = [f"fingerprint {fingerprint}", used.get("timm_name", "")]
        parts.append(f"normalised with {r.cell.normalize}")
        yield [name, "; ".join(filter(None, parts))]


def _origin(records: Sequence[Record]) -> Iterable[list[str]]:
    known = [p for r in records if (p := r.provenance)]
    if not known:
        return
    yield ["commits", counted(str(p.get("git_sha"))[:12] for p in known)]
    dirty = sum(bool(p.get("git_dirty")) for p in known)
    clean = "none of the cells"
    yield ["uncommitted changes", f"{dirty} of {len(known)} cells" if dirty else clean]
    packages: dict[str, list[str]] = {}
    for p in known:
        for name, version in p.get("packages", {}).items():
            packages.setdefault(name, []).append(version)
    yield ["versions", "; ".join(f"{n} {counted(v)}" for n, v in packages.items())]
    yield ["machines", counted(_machine(p.get("hardware", {})) for p in known)]
    dates = sorted(str(p["created"]) for p in known if p.get("created"))
    if dates:
        yield ["trained", f"{dates[0][:10]} to {dates[-1][:10]}"]


def _machine(hardware: dict[str, Any]) -> str:
    gpu = hardware.get("gpu") or "no GPU"
    return f"{gpu}, {hardware.get('cpu', '?')}, {hardware.get('threads', '?')} threads"
