"""Backbones: short names over timm, created with weights from any source.

`zoo` has the named ones, `making` makes them. Importing this package imports neither torch nor
timm: the functions that need them are looked up when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.backbones.sizes import check_size
from benchmark.backbones.zoo import backbones, origin, resolve

if TYPE_CHECKING:
    from benchmark.backbones.making import (
        cache_path,
        create,
        fingerprint,
        prefetch,
        preprocessing,
        pyramid,
    )

__all__ = [
    "backbones",
    "cache_path",
    "check_size",
    "create",
    "fingerprint",
    "origin",
    "prefetch",
    "preprocessing",
    "pyramid",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.making"), name)
