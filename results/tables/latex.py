r"""LaTeX of a `Sheet`: booktabs rules, a header over a header, as wide as the page and no wider.

The only package is booktabs. Widths are those of Computer Modern, which LaTeX sets by default, so
that the type size is chosen before anything is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from benchmark.core import escape
from results.tables.sheet import BEST, NOTHING, Sheet

# Widths to fit, in points. LNCS: 122 mm. "column" and "page" are those of a two-column article.
LAYOUTS = {"article": 345.0, "lncs": 347.1, "column": 229.5, "page": 469.0}
# Type size, its points, the size of deviations, its points, and half the space between columns:
# from the most comfortable to the smallest that is read in print.
_SIZES = (
    ("small", 9.0, "scriptsize", 7.0, 6.0),
    ("small", 9.0, "scriptsize", 7.0, 4.0),
    ("footnotesize", 8.0, "scriptsize", 7.0, 3.0),
    ("scriptsize", 7.0, "tiny", 5.0, 3.0),
    ("scriptsize", 7.0, "tiny", 5.0, 2.0),
)
_STACKED = 2  # the size of tables that no size makes narrow enough: their columns are stacked
_MARKS = {"=": r"$^{=}$", "°": r"$^{\circ}$", "¹": r"$^{1}$", "↑": r"$^{\uparrow}$"}
_SPREAD = " ± "


@cache
def _advances() -> tuple[dict[str, float], dict[str, float]]:
    """Return the widths of characters in em: (regular, bold)."""
    import matplotlib as mpl
    from matplotlib.ft2font import FT2Font, LoadFlags

    found = []
    for name in ("cmr10", "cmb10"):
        font = FT2Font(f"{mpl.get_data_path()}/fonts/ttf/{name}.ttf")
        font.set_size(10, 72)
        widths = {}
        for code in range(33, 127):
            glyph = font.load_char(code, flags=LoadFlags.NO_HINTING)
            widths[chr(code)] = glyph.linearHoriAdvance / 65536 / 10
        found.append({**widths, " ": 0.333, "±": 0.778})
    # LaTeX's bold is the extended cut, a seventh wider than the plain one that is measured here
    return found[0], {c: 1.15 * w for c, w in found[1].items()}


# Small sizes of Computer Modern are cut wider: the width of a digit against that of 10 points.
_CUT = {9.0: 1.028, 8.0: 1.062, 7.0: 1.139, 5.0: 1.361}


def width_of(text: str, points: float, *, bold: bool = False) -> float:
    """Return how wide LaTeX sets a text, in points."""
    widths = _advances()[bold]
    em = points * _CUT.get(points, 1.0)
    return em * sum(widths.get(character, 0.75) for character in text)


class _Cell:
    """One entry: its LaTeX and its width at a size."""

    def __init__(self, text: str, marks: str = "") -> None:
        self.main, _, self.spread = text.partition(_SPREAD)
        self.bold = BEST in marks
        self.marks = "".join(_MARKS[m] for m in marks if m in _MARKS)
        self.num_marks = sum(m in _MARKS for m in marks)

    def width(self, size: tuple[str, float, str, float, float]) -> float:
        _, points, _, small, _ = size
        found = width_of(self.main, points, bold=self.bold) + 0.65 * points * self.num_marks
        return found + (width_of(f"±{self.spread}", small) + 3 if self.spread else 0)

    def latex(self, size: tuple[str, float, str, float, float]) -> str:
        text = escape.latex(self.main)
        text = f"\\textbf{{{text}}}" if self.bold else text
        if self.spread:
            text += f"{{\\{size[2]}\\,$\\pm$\\,{escape.latex(self.spread)}}}"
        return text + self.marks


def latex(sheet: Sheet, layout: str | float = "page") -> str:
    r"""Return a table environment for `\usepackage{booktabs}`; the best of a column is bold.

    `layout` is a name of `LAYOUTS` or a width in points. A table that is too wide in the smallest
    type has its columns in several tabulars, one below the other.
    """
    room = LAYOUTS[layout] if isinstance(layout, str) else layout
    texts = sheet.texts
    cells = [
        [_Cell(text, sheet.marks.get((i, j), "")) for j, text in enumerate(row)]
        for i, row in enumerate(texts)
    ]
    every = list(range(len(sheet.header)))
    wide = [_width(sheet, cells, every, size) for size in _SIZES]
    fitting = [size for size, w in zip(_SIZES, wide, strict=True) if w <= room]
    size = fitting[0] if fitting else _SIZES[_STACKED]
    parts = [every] if fitting else _stack(sheet, cells, size, room)
    used = max(_width(sheet, cells, part, size) for part in parts)
    star = "*" if layout == "page" else ""
    protocol = sheet.note.splitlines()
    legend = sheet.legend.replace("Marks: * ", "Marks: bold ")
    # BibTeX-safe and free of what LaTeX reads in a \ref: letters, digits and hyphens
    slug = re.sub(r"[^a-z0-9]+", "-", sheet.title.lower()).strip("-")
    lines = [
        f"% needs \\usepackage{{booktabs}}; about {used:.0f} of {room:.0f} pt wide",
        *(f"% {line}" for line in protocol),
        f"\\begin{{table{star}}}[t]",
        r"\centering",
        f"\\caption{{{escape.latex(sheet.title)}. {escape.latex(legend)}}}".replace(". }", ".}"),
        f"\\label{{{sheet.label or 'tab:' + slug}}}",
        r"\smallskip",
        f"\\{size[0]}\\setlength{{\\tabcolsep}}{{{size[4]:g}pt}}",
    ]
    for number, part in enumerate(parts):
        lines += [r"\par\medskip"] * (number > 0) + _tabular(sheet, cells, part, size)
    return "\n".join([*lines, f"\\end{{table{star}}}"]) + "\n"


def _spans(sheet: Sheet, part: Sequence[int], level: int) -> list[tuple[int, int]]:
    """Return (first, last) places in `part` of equal neighbours at one level of the header."""
    spans: list[tuple[int, int]] = []
    for place, j in enumerate(part):
        head = sheet.header[j][: level + 1]
        same = place and head[level] and head == sheet.header[part[place - 1]][: level + 1]
        innermost = level == len(sheet.header[j]) - 1
        if same and not innermost:
            spans[-1] = (spans[-1][0], place)
        else:
            spans.append((place, place))
    return spans


def _widths(sheet: Sheet, cells: Any, part: Sequence[int], size: Any) -> list[float]:
    """Return the width of each column without the space around it; headings may widen some."""
    _, points, _, _, space = size
    found = [max((row[j].width(size) for row in cells), default=0.0) for j in part]
    for level in reversed(range(len(sheet.header[0]))):
        for first, last in _spans(sheet, part, level):
            have = sum(found[first : last + 1]) + 2 * space * (last - first)
            words = sheet.header[part[first]][level].split() or [""]
            need = max(width_of(word, points) for word in words)
            # a heading wider than its columns widens the last of them, as LaTeX does
            found[last] += max(0.0, need - have)
    return found


def _width(sheet: Sheet, cells: Any, part: Sequence[int], size: Any) -> float:
    space = size[4]
    return sum(_widths(sheet, cells, part, size)) + 2 * space * (len(part) - 1) + 1


def _stack(sheet: Sheet, cells: Any, size: Any, room: float) -> list[list[int]]:
    """Return the columns of each tabular, those that name rows in all, broken at headings."""
    keys = list(range(sheet.keys))
    parts: list[list[int]] = []
    spans = _spans(sheet, range(len(sheet.header)), 0)
    blocks = [list(range(a, b + 1)) for a, b in spans if a >= sheet.keys]
    for block in blocks:
        fits = _width(sheet, cells, [*keys, *block], size) <= room
        for piece in [block] if fits else [[j] for j in block]:
            if parts and _width(sheet, cells, [*parts[-1], *piece], size) <= room:
                parts[-1] += piece
            else:
                parts.append([*keys, *piece])
    return parts


def _tabular(sheet: Sheet, cells: Any, part: Sequence[int], size: Any) -> list[str]:
    form = "".join("r" if sheet.numeric[j] and j else "l" for j in part)
    lines = [f"\\begin{{tabular}}{{@{{}}{form}@{{}}}}", r"\toprule"]
    levels = len(sheet.header[0])
    widths = _widths(sheet, cells, part, size)
    for level in range(levels):
        heads, rules = [], []
        for first, last in _spans(sheet, part, level):
            text = sheet.header[part[first]][level]
            have = sum(widths[first : last + 1]) + 2 * size[4] * (last - first)
            shown = _broken(text, have, size[1])
            count = last - first + 1
            side = form[first] if count == 1 and first == 0 else "c"
            heads.append(
                f"\\multicolumn{{{count}}}{{{side}}}{{{shown}}}" if text else "&" * (count - 1)
            )
            if text and level < levels - 1:
                rules.append(f"\\cmidrule(lr){{{first + 1}-{last + 1}}}")
        if any(head.strip("&") for head in heads):
            lines.append(" & ".join(heads) + r" \\")
            lines += ["".join(rules)] if rules else []
    starts = {row: title for title, row in sheet.groups}
    title, first_row = None, True  # the title of the group that comes next
    for i, row in enumerate(cells):
        title = starts.get(i, title)
        # in one of several parts, a row with nothing in it is left out
        if len(part) < len(cells[0]) and all(
            row[j].main in ("", NOTHING) for j in part[sheet.keys :]
        ):
            continue
        if title is not None or first_row:
            lines.append(r"\midrule")
        first_row = False
        if title:
            shown = f"\\emph{{{escape.latex(title)}}}"
            lines.append(f"\\multicolumn{{{len(part)}}}{{@{{}}l}}{{{shown}}} \\\\")
        title = None
        lines.append(" & ".join(row[j].latex(size) for j in part) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _broken(text: str, room: float, points: float) -> str:
    """Return a heading, its words on several lines where they are wider than their columns."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(joined, points) <= room:
            lines[-1] = joined
        else:
            lines.append(word)
    shown = r"\\".join(map(escape.latex, lines))
    return f"\\shortstack{{{shown}}}" if len(lines) > 1 else shown
