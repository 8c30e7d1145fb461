"""Names of the user's in the languages of files: one function each, used everywhere.

Data sets, methods, classes and files are called what their owners like, and a record may come from
anybody: no name may end a table, start a command or become a formula.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "°": r"$^{\circ}$"}
_LATEX |= {"¹": r"$^{1}$", "≤": r"$\le$", "≥": r"$\ge$"}
_LATEX |= {"↑": r"$\uparrow$", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}  # \\[ takes a length
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
_GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon"}  # noqa: RUF001
_GREEK |= {"η": "eta", "θ": "theta", "λ": "lambda", "μ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau"}  # noqa: RUF001
_LATEX |= {letter: f"$\\{name}$" for letter, name in _GREEK.items()}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet tells a formula from a text
_NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?%?")


def latex(text: str) -> str:
    """Return `text` with every character that LaTeX would read as a command made plain."""
    return "".join(_LATEX.get(character, character) for character in text)


def markdown(text: str) -> str:
    """Return `text` for a cell of a Markdown table: bars and line breaks would end it."""
    return " ".join(text.replace("|", r"\|").splitlines())


def formula(text: str) -> str:
    """Return `text` for a CSV file: a spreadsheet shows an apostrophe's text and computes nothing.

    Numbers stay as they are.
    """
    starts = text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if starts else text


def csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, numbers in full; no name in it is a formula."""
    plain = frame.copy()
    for name in plain.select_dtypes(exclude="number"):
        plain[name] = [formula(v) if isinstance(v, str) else v for v in plain[name]]
    plain.columns = [formula(str(name)) for name in plain.columns]
    return plain.to_csv(index=False, lineterminator="\n")
