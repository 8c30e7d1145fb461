"""Whose work a number stands on: what a record says of its data set, backbone and method.

Imports neither torch nor timm, so that reports need neither.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

from benchmark import backbones
from benchmark.data.base import Card, datasets


def of_card(card: Card) -> dict[str, Any]:
    """Return citation (one line, and in fields as `works`), licence and address of a data set."""
    works = [citation.to_json() for citation in card.citations]
    return {"citation": card.citation, "works": works, "licence": card.licence, "url": card.url}


def of_cell(card: Card, backbone: str, paper: str) -> dict[str, dict[str, Any]]:
    """Return the citations in the record of a cell; `paper` is that of its method."""
    method = {"citation": paper}
    return {"data": of_card(card), "backbone": backbones.origin(backbone), "method": method}


def lookup(kind: str, name: str) -> dict[str, Any]:
    """Return what the registries say of a "data" set, "backbone" or "method".

    For records from before they held their citations.
    """
    if kind == "backbone":
        return backbones.origin(name)
    if kind == "method":
        paper = described().get(name, {}).get("paper", "")
        return {"citation": paper} if paper else {}
    return of_card(datasets[name].card) if name in datasets else {}


def display(kind: str, name: str) -> str:
    """Return what tables and figures call a "method", "data" set or "backbone"; "" if unknown."""
    if kind == "method":
        return described().get(name, {}).get("display", "")
    if kind == "backbone":
        scheme, _, rest = name.rpartition(":")
        base = rest.rpartition("@")[2]
        title = backbones.backbones[base].display if base in backbones.backbones else ""
        return f"{title} (untrained)" if title and scheme == "random" else title
    return datasets[name].card.title if name in datasets else ""


def family(method: str) -> str:
    """Return the family that a method says it is of; "" if unknown."""
    return described().get(method, {}).get("family", "")


@cache
def described() -> dict[str, dict[str, str]]:
    """Return paper, display name and family of every registered method.

    They are read from the source of the methods, because importing those takes torch.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted((Path(__file__).parents[2] / "methods").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef):
                continue
            names = [d.args[0] for d in node.decorator_list if isinstance(d, ast.Call) and d.args]
            values = {
                line.targets[0].id: ast.literal_eval(line.value)
                for line in node.body
                if isinstance(line, ast.Assign)
                and isinstance(line.targets[0], ast.Name)
                and line.targets[0].id in ("paper", "display", "family")
            }
            found |= {ast.literal_eval(name): values for name in names[:1]}
    return found
