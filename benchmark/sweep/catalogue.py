"""Tables of what can be named: for `list`, and for the README files, which a test holds equal.

Methods and backbones take torch and timm to read. Their table is therefore copied from the README
beside them, as long as it names exactly what is there.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tabulate import tabulate

from benchmark.core.spec import base_name
from benchmark.data.base import Card
from benchmark.sweep import names

Rows = tuple[list[str], list[list[str]]]
NARROWEST = 12  # of a column of text in a terminal


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


def as_text(rows: Rows, style: str = "terminal") -> str:
    """Return (header, rows) as "markdown", or as text ("terminal") that fits the terminal.

    In a pipe or a file a row stays one line, whatever its length: for `list methods | grep lora`.
    """
    head, lines = rows
    if style == "markdown":
        return tabulate(lines, head, tablefmt="github")
    if sys.stdout.isatty():
        head, lines = _fitted(rows, shutil.get_terminal_size().columns)
    return tabulate(lines, head, tablefmt="simple")


def _fitted(rows: Rows, width: int) -> Rows:
    """Return a table of at most `width` columns: long cells are broken, the widest column first."""
    head, lines = rows
    padded = [f"{name}  " for name in head]  # as tabulate does
    widths = [max(map(len, column)) for column in zip(padded, *lines, strict=True)]
    # what one types again, the names in the first column, is never cut
    least = [max(len(word) for row in lines for word in re.split("[ ,]", row[0])) + 1]
    least += [NARROWEST] * (len(widths) - 1)
    while sum(widths) + 2 * len(widths) - 2 > width:
        wide = [j for j in range(len(widths)) if widths[j] > least[j]]
        if not wide:
            break
        widths[max(wide, key=lambda j: widths[j])] -= 1
    folded = [[_folded(*cell) for cell in zip(row, widths, strict=True)] for row in lines]
    return [_folded(name, room - 2) for name, room in zip(head, widths, strict=True)], folded


def _folded(text: str, width: int) -> str:
    """Return a text in lines broken behind spaces, commas and slashes, else where they are full."""
    lines = [""]
    for piece in re.findall(r"[^ ,/]*[ ,/]|[^ ,/]+", text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    parts = [line[k : k + width] for line in lines for k in range(0, len(line.rstrip()), width)]
    return "\n".join(map(str.rstrip, parts))


def _printed(kind: str) -> Rows | None:
    """Return the table in the README of a package; None where it does not name what is there."""
    package, known = _PRINTED[kind]
    found = find_spec(package)
    page = Path(str(found and found.origin)).with_name("README.md")
    text = page.read_text() if page.is_file() else ""
    block = re.search(rf"<!-- list {kind} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    lines = block[1].splitlines() if block else []
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    if len(cells) < 3 or [base_name(row[0]) for row in cells[2:]] != known():
        return None
    return cells[0], cells[2:]
