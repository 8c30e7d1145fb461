r"""LaTeX: text without commands, and a table environment for `\usepackage{booktabs}`."""

from __future__ import annotations

from collections.abc import Sequence

_SPECIAL = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}"}
_SPECIAL |= {"^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$"}
_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}


def escape(text: str) -> str:
    """Return `text` with every character that LaTeX would read as a command made plain."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def environment(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return a table of cells that are LaTeX already; `caption` is plain text."""
    top, *rest = (" & ".join(line) + r" \\" for line in (header, *rows))
    columns = "l" + "r" * (len(header) - 1)
    parts = [r"\begin{table}", r"\centering\small", f"\\begin{{tabular}}{{{columns}}}", r"\toprule"]
    parts += [top, r"\midrule", *rest, r"\bottomrule", r"\end{tabular}"]
    parts += [f"\\caption{{{escape(caption)}}}", r"\end{table}"]
    return "\n".join(parts) + "\n"
