"""Whose work a number stands on: what a record says of its data set, backbone and method.

Imports neither torch nor timm, so that reports need neither.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmark import backbones
from benchmark.core.citation import OTHERS, Citation, source
from benchmark.data.base import Card, datasets


def of_card(card: Card) -> dict[str, Any]:
    """Return citation (one line, and in fields as `works`), licence and address of a data set."""
    works = [citation.to_json() for citation in card.citations]
    return {"citation": card.citation, "works": works, "licence": card.licence, "url": card.url}


def of_method(paper: str, works: Sequence[Citation]) -> dict[str, Any]:
    """Return the citation of a method, in one line and in fields; {} where it states none."""
    fields = {"works": [work.to_json() for work in works]} if works else {}
    return {"citation": paper, **fields} if paper else {}


def of_cell(card: Card, backbone: str, method: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the citations in the record of a cell; `method` is what `of_method` says."""
    return {"data": of_card(card), "backbone": backbones.origin(backbone), "method": method}


def lookup(kind: str, name: str) -> dict[str, Any]:
    """Return what the registries say of a "data" set, "backbone" or "method".

    For records from before they held their citations.
    """
    if kind == "backbone":
        return backbones.origin(name)
    if kind == "method":
        about = described().get(name, {})
        return of_method(about.get("paper", ""), about.get("works", ()))
    return of_card(datasets[name].card) if name in datasets else {}


def display(kind: str, name: str) -> str:
    """Return what tables and figures call a "method", "data" set or "backbone"; "" if unknown."""
    if kind == "method":
        return described().get(name, {}).get("display", "")
    if kind == "backbone":
        entry = backbones.row(name)
        title = entry.display if entry else ""
        return f"{title} (untrained)" if title and name.startswith("random:") else title
    return datasets[name].card.title if name in datasets else ""


def family(method: str) -> str:
    """Return the family that a method says it is of; "" if unknown."""
    return described().get(method, {}).get("family", "")


_ABOUT = ("paper", "works", "passage", "display", "family")


@cache
def described() -> dict[str, dict[str, Any]]:
    """Return what every registered method says of itself: paper, works, display name and family.

    They are read from the source of the methods, because importing those takes torch.
    """
    folder = Path(__file__).parents[2] / "methods"
    trees = {path.stem: ast.parse(path.read_text()) for path in sorted(folder.glob("*.py"))}
    cited = {
        (stem, name): _value(value, {})
        for stem, tree in trees.items()
        for name, value in _assigned(tree.body)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
        if value.func.id == Citation.__name__
    }
    found: dict[str, dict[str, Any]] = {}
    for stem, tree in trees.items():
        # a paper of two methods stands in the file of one, and the other imports it from there
        names = {name: work for (home, name), work in cited.items() if home == stem}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                home = str(node.module).removeprefix("methods.")
                shared = {
                    a.name: cited[home, a.name] for a in node.names if (home, a.name) in cited
                }
                names |= shared
            if not isinstance(node, ast.ClassDef):
                continue
            filed = [d.args[0] for d in node.decorator_list if isinstance(d, ast.Call) and d.args]
            about = {n: _value(v, names) for n, v in _assigned(node.body) if n in _ABOUT}
            if about.get("works") and "paper" not in about:
                about["paper"] = source(about["works"], about.get("passage", ""))
            found |= {ast.literal_eval(name): about for name in filed[:1]}
    return found


def _assigned(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, value) of every plain assignment in a module or class."""
    for line in body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(target, ast.Name) and (value := getattr(line, "value", None)):
            yield target.id, value


def _value(node: ast.expr, names: Mapping[str, Citation]) -> Any:
    """Return the value of a literal, of `Citation(...)`, or of a tuple of names of those."""
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, names) for item in node.elts)
    if isinstance(node, ast.Name):
        return OTHERS if node.id == "OTHERS" else names[node.id]
    if isinstance(node, ast.Call):
        keywords = {str(k.arg): _value(k.value, names) for k in node.keywords}
        return Citation(*(_value(a, names) for a in node.args), **keywords)
    return ast.literal_eval(node)
