"""What a number is, wherever a person writes one: in a flag, a spec string, a TOML file.

Python's own `int` and `float` also take "1_0", "nan", "inf", and digits of every script.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from benchmark.core.registry import InputError

N = TypeVar("N", int, float)
LARGEST = 1e100  # squares of larger ones overflow, and nothing measured is larger
MOST = 2**63 - 1  # of whole numbers: what JSON and torch's generators hold
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True)
class Number(Generic[N]):
    """The numbers that one setting may have: whole or not, and in which range.

    `least` and `most` may be reached, `above` and `below` may not.
    """

    kind: type[N]
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __str__(self) -> str:
        """Return "a whole number from 1 to 64"."""
        text = "a whole number" if self.kind is int else "a number"
        if math.isfinite(self.above) and math.isfinite(self.below):
            return f"{text} between {self.above:.12g} and {self.below:.12g}"
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"{text} from {self.least:.12g} to {self.most:.12g}"
        parts = []
        if math.isfinite(self.above):
            parts.append(f"above {self.above:.12g}")
        if math.isfinite(self.least):
            parts.append(f"of {self.least:.12g} or more")
        if math.isfinite(self.below):
            parts.append(f"below {self.below:.12g}")
        if math.isfinite(self.most):
            parts.append(f"up to {self.most:.12g}")
        return " ".join([text, " and ".join(parts)]).strip()

    @property
    def inside(self) -> tuple[float, float]:
        """Return two ends between which every value is allowed; the ends themselves may be."""
        limit = MOST if self.kind is int else LARGEST
        return max(self.least, self.above, -limit), min(self.most, self.below, limit)

    def read(self, text: object, name: str) -> N:
        """Return the number that `text`, or a value of a program or file, says.

        Raises:
            InputError: it is none, or out of range; `name` says whose it is.
        """
        # a bool is no number, though Python counts with it; numpy's numbers are, as text
        plain = str(text).strip()
        form = _WHOLE if self.kind is int else _REAL
        if isinstance(text, bool) or not form.fullmatch(plain):
            raise InputError(f"{name} {text!r} must be {self}")
        return self.check(self.kind(plain), name)

    def check(self, value: N, name: str) -> N:
        """Return `value`, or raise InputError where it is out of range."""
        kinds = int if self.kind is int else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):  # from a program
            raise InputError(f"{name} {value!r} must be {self}")
        inside = self.least <= value <= self.most and self.above < value < self.below
        limit = MOST if self.kind is int else LARGEST
        if not (inside and abs(value) <= limit):  # NaN is in no range
            # without its limit the range would seem to hold the value
            told = f", {limit} at most" if inside else ""
            raise InputError(f"{name} {value!r} must be {self}{told}")
        return value


COUNT = Number(int, above=0)
FROM_ZERO = Number(int, least=0)
POSITIVE = Number(float, above=0)
PROBABILITY = Number(float, least=0, most=1)
# A field says by its type what it may hold: `typed.annotated` reads it.
FromZero = Annotated[int, FROM_ZERO]
