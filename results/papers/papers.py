"""What papers have published, as data: claims and numbers in `results/published/*.toml`.

A file holds the paper's `title`, `citation`, `source` (where the numbers were read) and either
`[[claim]]` with `[[protocol]]` (what differs between its code and this benchmark), or `protocol`
(one sentence) with `[[number]]`; what stands above the numbers is true of each of them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.core.registry import unknown

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Claim:
    """One claim: `quantity` names what computes it here, `published` is what the text says.

    `value` is the published number, in the unit of the quantity. A measured number within
    `tolerance` of it counts as the same, or any above it where the claim is `at_least`.
    `backbone` starts the names of the backbones that the claim is about, where it depends on one.
    """

    quantity: str
    text: str
    published: str
    value: float = 0.0
    tolerance: float = 0.0
    backbone: str = ""
    at_least: bool = False


@dataclass(frozen=True)
class Number:
    """One published score x 100; None where the source does not tell or it does not apply."""

    method: str
    value: float
    metric: str
    dataset: str
    backbone: str
    image_size: int | None = None
    fraction: float | None = None
    labels: int | None = None
    shots: int | None = None
    params_percent: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Paper:
    """One source; `differences` are (aspect, published, here)."""

    name: str
    title: str
    citation: str
    source: str
    protocol: str = ""
    methods: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    differences: tuple[tuple[str, str, str], ...] = ()
    numbers: tuple[Number, ...] = ()


_ABOUT = ("title", "citation", "source")


def names() -> list[str]:
    """Return the names of all papers."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Paper:
    """Return the paper of that name.

    Raises:
        InputError: for a name that is not in `names()`.
    """
    if name not in names():
        raise unknown("paper", name, names())
    values = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    about: dict[str, Any] = {key: values.pop(key) for key in _ABOUT}
    protocol = values.pop("protocol")
    if "claim" in values:
        rows = tuple((p["aspect"], p["published"], p["here"]) for p in protocol)
        claims = tuple(Claim(**claim) for claim in values["claim"])
        return Paper(
            name, **about, methods=tuple(values["methods"]), claims=claims, differences=rows
        )
    numbers = tuple(Number(**{**values, **number}) for number in values.pop("number"))
    return Paper(name, **about, protocol=protocol, numbers=numbers)
