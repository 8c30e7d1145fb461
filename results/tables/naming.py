"""Names of methods in tables, figures and on the page: short, and still unlike each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.core.registry import InputError
from benchmark.core.spec import format_spec, parse_spec


def brief(method: str, methods: Sequence[str]) -> str:
    """Return the method's name with the arguments in which others of its name differ from it.

    "lora" where it is the only one, "lora(rank=8)" beside "lora(rank=4)" whatever else they share.
    """
    base = method.partition("(")[0]
    siblings = [m for m in dict.fromkeys(methods) if m.partition("(")[0] == base]
    if len(siblings) < 2:
        return base
    try:
        arguments: list[dict[str, Any]] = [parse_spec(m)[1] for m in siblings]
        own = parse_spec(method)[1]
    except InputError:
        return method  # not written by this project
    differ = {k: v for k, v in own.items() if any(a.get(k, a) != v for a in arguments)}
    return format_spec(base, differ)


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
    twice = [m for m, name in found.items() if list(found.values()).count(name) > 1]
    return found | {m: brief(m, methods) for m in twice}
