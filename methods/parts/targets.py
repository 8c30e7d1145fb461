"""Which linear layers, and which rows of them, a method adapts. Not a method itself."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from benchmark.core.registry import InputError, unknown
from methods import families

TARGETS = ("qkv", "q", "k", "v", "proj", "fc1", "fc2")
Rows = tuple[int, int]


def check(targets: str) -> None:
    """Raise InputError for a role that does not exist, or is named twice, in a text as "q+v"."""
    named = targets.split("+")
    for target in named:
        if target not in TARGETS:
            raise unknown("LoRA target", target, TARGETS)
        within = target in ("q", "k", "v") and "qkv" in named
        if within or named.count(target) > 1:
            raise InputError(f"targets {targets!r} names {target} twice; leave one out")


def parts(block: nn.Module, target: str) -> list[tuple[nn.Linear, Rows]]:
    """Return the (layer, rows) that a target means in this block; [] where it has none."""
    own = families.linear(block, target)
    if own is not None:
        return [(own, (0, own.out_features))]
    # timm fuses q, k and v in most ViTs and Swins; PVT fuses k and v alone
    for role, order in (("qkv", "qkv"), ("kv", "kv")):
        fused = families.linear(block, role)
        if fused is not None and target in order and target != role:
            step = fused.out_features // len(order)
            start = order.index(target) * step
            return [(fused, (start, start + step))]
    return []


def places(backbone: nn.Module, targets: str) -> Iterator[tuple[nn.Linear, list[Rows]]]:
    """Yield each adapted layer of `backbone` once, with its adapted row ranges in order."""
    for block in families.blocks(backbone):
        found: dict[nn.Linear, list[Rows]] = {}
        for target in targets.split("+"):
            for layer, rows in parts(block, target):
                found.setdefault(layer, []).append(rows)
        # sorted: whoever joins the pieces of an output walks through them once
        yield from ((layer, sorted(rows)) for layer, rows in found.items())


def missing(backbone: nn.Module, targets: str) -> str | None:
    """Return a reason where no block has one of the targets, or None."""
    for target in targets.split("+"):
        if not any(parts(block, target) for block in families.blocks(backbone)):
            return f"its blocks have no linear layer {target!r}; name others with targets="
    return None
