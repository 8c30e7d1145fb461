"""Names of methods in tables, figures and on the page: short, and still unlike each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.core.spec import brief

__all__ = ["brief", "displayed"]


def displayed(methods: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each method for readers: its display name and what differs from others.

    `names` holds display names, of a method ("lora") or of one setting ("lora(rank=8)", whole or
    as `brief` writes it). A method without one keeps its own name.
    """
    found = {}
    for method in methods:
        short = brief(method, methods)
        base, bracket, rest = short.partition("(")
        exact = names.get(method) or names.get(short)
        found[method] = exact or names.get(base, base) + (f" ({rest}" if bracket else "")
    # two methods under one display name would be read as one: both keep their own
    twice = [m for m, name in found.items() if list(found.values()).count(name) > 1]
    return found | {m: brief(m, methods) for m in twice}
