"""Tables of what can be named: for `list`, and for the README files, which a test holds equal.

Methods and backbones take torch and timm to read. Their table is therefore copied from the README
beside them, as long as it names exactly what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tabulate import tabulate

from benchmark.core.spec import base_name
from benchmark.data.base import Card
from benchmark.sweep import names

Rows = tuple[list[str], list[list[str]]]


def _methods() -> Rows:
    import methods

    built = [methods.build(name) for name in methods.methods]
    rows = [[str(method), f"{method.lr:g}", method.paper] for method in built]
    return ["method and its defaults", "lr", "source"], rows


def _backbones() -> Rows:
    from benchmark.backbones import backbones

    found = [backbones[name] for name in backbones]
    heads = ["backbone", "timm model", "weights", "input", "licence", "not checked"]
    weights = [b.source + " (gated)" * bool(b.gate) for b in found]
    return heads, [
        [b.name, b.timm_name, weight, f"{b.default_size}", b.licence, b.unchecked]
        for b, weight in zip(found, weights, strict=True)
    ]


def _datasets() -> Rows:
    from benchmark.data import datasets

    cards = [datasets[name].card for name in datasets if not datasets[name].card.variant_of]
    return ["data set", "task", "classes", "modality", "groups", "licence"], [
        [c.name, c.task, str(len(c.classes)), c.modality, _groups(c), c.licence] for c in cards
    ]


def _groups(card: Card) -> str:
    """Return what a group of a set is; "unknown" where no file tells the patients."""
    inferred = f"{card.group_key} (inferred)"
    alone = {"single": "each image alone", "unknown": "unknown", "inferred": inferred}
    return alone.get(card.grouping, card.group_key)


def _suites() -> Rows:
    from benchmark.sweep.suites import suites

    return ["suite", "what it asks"], [
        [name, (suites[name].__doc__ or "").splitlines()[0]] for name in suites
    ]


_TABLES: dict[str, Callable[[], Rows]] = {
    "methods": _methods,
    "backbones": _backbones,
    "datasets": _datasets,
    "suites": _suites,
}
_PRINTED: dict[str, tuple[str, Callable[[], list[str]]]] = {  # package with the README, names
    "methods": ("methods", names.method_names),
    "backbones": ("benchmark.backbones", names.backbone_names),
}


def table(kind: str, style: str = "terminal") -> str:
    """Return the table of one registry as text ("terminal") or "markdown"."""
    return as_text((kind in _PRINTED and _printed(kind)) or _TABLES[kind](), style)


def generated(kind: str) -> str:
    """Return the table in Markdown, made from the registry itself."""
    return as_text(_TABLES[kind](), "markdown")


def as_text(rows: Rows, style: str) -> str:
    """Return (header, rows) as text ("terminal") or "markdown"."""
    return tabulate(rows[1], rows[0], tablefmt="github" if style == "markdown" else "simple")


def _printed(kind: str) -> Rows | None:
    """Return the table in the README of a package; None where it does not name what is there."""
    package, known = _PRINTED[kind]
    found = find_spec(package)
    page = Path(str(found and found.origin)).with_name("README.md")
    text = page.read_text() if page.is_file() else ""
    block = re.search(rf"<!-- list {kind} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    lines = block[1].splitlines() if block else []
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    if len(cells) < 3 or [base_name(row[0]) for row in cells[2:]] != known():
        return None
    return cells[0], cells[2:]
