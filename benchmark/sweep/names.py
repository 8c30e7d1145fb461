"""The names that a sweep may use, known without torch and timm: a misspelt one is answered at once.

A method is a file in `methods/` of its name. What a running program has registered counts too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from benchmark.core.registry import ENTRY_POINTS, InputError, module_names, unknown
from benchmark.core.spec import parse_spec

_SHARED = {"base", "families", "seams"}  # files in `methods/` that are no method
_FILES = (".csv", ".npz")


def method_names() -> list[str]:
    """Return the names of the methods of this project and of installed packages, sorted."""
    own = set(module_names("methods")) - _SHARED
    return sorted(own | {point.name for point in entry_points(group=ENTRY_POINTS)})


def backbone_names() -> list[str]:
    """Return the short names of the backbones, sorted."""
    from benchmark.backbones import backbones

    return list(backbones)


def dataset_names() -> list[str]:
    """Return the names of the registered data sets, sorted."""
    from benchmark.data import datasets

    return list(datasets)


def check_methods(specs: Iterable[str]) -> None:
    """Raise InputError for a spec that cannot be read, or whose name is neither known nor yours.

    Arguments of a method, and `module:Class`, are looked at when the method is built.
    """
    known = method_names()
    for spec in specs:
        name, _ = parse_spec(spec)
        module, colon, cls = name.partition(":")
        if colon:
            if module.endswith(".py") or "/" in module:
                plain = Path(module).stem
                raise InputError(f"{name!r} names a file; write module:Class, as {plain}:{cls}")
        elif name not in known and name not in _running("methods", "methods"):
            if Path(f"{name}.py").is_file():
                raise InputError(f"{name!r} is a file here; name the class in it: {name}:CLASS")
            error = unknown("method", name, known)
            raise InputError(f"{error}; one of your own is module:Class")


def check_backbones(names: Iterable[str]) -> None:
    """Raise InputError for an unknown short name or weight source."""
    from benchmark.backbones.sources import SCHEMES

    known = backbone_names()
    for name in names:
        scheme, colon, _ = name.partition(":")
        if colon and scheme not in SCHEMES:
            raise unknown("weight source", scheme, SCHEMES)
        if not colon and name not in known and name not in _running("benchmark.backbones"):
            raise unknown("backbone", name, known)


def check_datasets(specs: Iterable[str]) -> None:
    """Raise InputError for what is neither a registered name nor a path."""
    known: Sequence[str] = dataset_names()
    for spec in specs:
        path = Path(spec)
        is_path = "/" in spec or path.suffix in _FILES or path.exists()
        if spec.partition("@")[0] not in known and not is_path:
            raise unknown("data set", spec, known)


def _running(module: str, registry: str = "backbones") -> Iterable[str]:
    """Return what is registered in a module that this process has imported already."""
    return getattr(sys.modules.get(module), registry, ())
