"""Backbones: short names over timm, created with weights from any source.

`zoo` has the named ones, `sources` reads names, `networks` builds them, `making` loads their
weights. Importing this package imports neither torch nor timm: what needs them is looked up when
it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.backbones.sources import origin, resolve, row
from benchmark.backbones.zoo import backbones

if TYPE_CHECKING:
    from benchmark.backbones.making import (
        cache_path,
        check_size,
        create,
        fingerprint,
        left_out,
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
    "left_out",
    "origin",
    "prefetch",
    "preprocessing",
    "pyramid",
    "resolve",
    "row",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.making"), name)
