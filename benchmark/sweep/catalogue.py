"""Tables of the registries: for `list`, and for the README, where a test holds them equal."""

from __future__ import annotations

from collections.abc import Callable

from tabulate import tabulate

import methods
from benchmark.backbones import backbones
from benchmark.data import datasets
from benchmark.sweep.suites import suites

Rows = tuple[list[str], list[list[str]]]


def _methods() -> Rows:
    rows = []
    for name in methods.methods:
        method = methods.build(name)
        rows.append([str(method), f"{method.lr:g}", method.paper])
    return ["method and its defaults", "lr", "source"], rows


def _backbones() -> Rows:
    found = [backbones[name] for name in backbones]
    return ["backbone", "timm model", "weights", "input"], [
        [b.name, b.timm_name, b.source, f"{b.default_size}"] for b in found
    ]


def _datasets() -> Rows:
    cards = [datasets[name].card for name in datasets if not datasets[name].card.variant_of]
    return ["data set", "task", "classes", "modality", "licence"], [
        [c.name, c.task, str(len(c.classes)), c.modality, c.licence] for c in cards
    ]


def _suites() -> Rows:
    return ["suite", "what it asks"], [
        [name, (suites[name].__doc__ or "").splitlines()[0]] for name in suites
    ]


_TABLES: dict[str, Callable[[], Rows]] = {
    "methods": _methods,
    "backbones": _backbones,
    "datasets": _datasets,
    "suites": _suites,
}


def table(kind: str, style: str = "terminal") -> str:
    """Return the table of one registry as text ("terminal") or "markdown"."""
    header, rows = _TABLES[kind]()
    return tabulate(rows, header, tablefmt="github" if style == "markdown" else "simple")
