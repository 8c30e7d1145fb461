"""One table for print: numbers stay numbers in it, and become text in a writer only.

A `Sheet` is a DataFrame with a title, how each column is written and which entries are marked. The
same sheet becomes text for a terminal, Markdown, CSV and (in `results.tables.latex`) LaTeX.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.core import escape

WIDTH = 100  # characters of a terminal
NOTHING = "--"  # where nothing was run
NARROWEST = 20  # of a column of text, with the space beside it
Form = Callable[[Any], str]  # how a value is written; never called with a missing one
# Marks of an entry: one character each, so that an entry can have several. Bold stands for BEST
# where a format has it.
BEST, TIED, CHANCE, ONCE, RISING = "*", "=", "°", "¹", "↑"
MEANING = {
    BEST: "best",
    TIED: "noise does not separate it from the best",
    CHANCE: "no better than answers without a look at the image",
    ONCE: "one run, never best beside repeated ones",
    RISING: "validation still rising when training ended",
}


@dataclass(frozen=True)
class Score:
    """One entry: mean and standard deviation (ddof 1) over n runs, in units of tables; or why not.

    `reason` says why there is no number: "missing", "failed", "n/a" or "conflict".
    """

    mean: float | None = None
    spread: float | None = None
    num_seeds: int = 0
    reason: str = ""
    decimals: int = 1

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int | None = None, *, spread: bool = True, scale: float = 1.0) -> str:
        """Return "12.3 ± 0.4", "12.3" of one run, the reason, or "--" where nothing was run."""
        if self.mean is None:
            return NOTHING if self.reason == "missing" else self.reason
        digits = self.decimals if digits is None else digits
        text = f"{scale * self.mean:.{digits}f}"
        if spread and self.spread is not None:
            text += f" ± {scale * self.spread:.{digits}f}"
        return text


@dataclass(frozen=True)
class Sheet:
    """A table that is printed: `data` holds numbers, texts and `Score`s; missing values are blank.

    The columns of `data` are names, or tuples of equal length: a header over a header, from the
    outermost to the innermost. The first `keys` columns name the rows. `forms` says how the values
    of a column are written. `marks` are by (row, column) number. `groups` are (title, first row) of
    consecutive rows that belong together. `caption` is short, `note` is the protocol behind it.
    """

    title: str
    data: pd.DataFrame
    caption: str = ""
    note: str = ""
    forms: Mapping[Any, Form] = field(default_factory=dict)
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)
    groups: Sequence[tuple[str, int]] = ()
    label: str = ""
    keys: int = 1

    @property
    def header(self) -> list[tuple[str, ...]]:
        """Return the levels of each column's name, outermost first."""
        return [c if isinstance(c, tuple) else (str(c),) for c in self.data.columns]

    @property
    def texts(self) -> list[list[str]]:
        """Return every entry as text, without its marks."""
        columns = []
        for name, values in self.data.items():
            form = self.forms.get(name, str)
            # a plain list: pandas would make floats of whole numbers beside a missing one
            columns.append(["" if _missing(v) else form(v) for v in values.astype(object)])
        return [list(row) for row in zip(*columns, strict=True)]

    @property
    def numeric(self) -> list[bool]:
        """Return of each column whether it holds numbers, which are set flush right."""
        return [
            all(not isinstance(v, str) for v in self.data.iloc[:, i])
            for i in range(self.data.shape[1])
        ]

    @property
    def legend(self) -> str:
        """Return the caption with what the marks of this sheet mean."""
        used = set("".join(self.marks.values()))
        told = [f"{mark} {meaning}" for mark, meaning in MEANING.items() if mark in used]
        return " ".join(filter(None, [self.caption, f"Marks: {'; '.join(told)}." if told else ""]))

    def frame(self) -> pd.DataFrame:
        """Return the numbers with one level of names; a `Score` takes columns for sd, n, reason."""
        columns: dict[str, Any] = {}
        for parts, (_, values) in zip(self.header, self.data.items(), strict=True):
            name = " ".join(filter(None, parts))
            if not any(isinstance(v, Score) for v in values):
                columns[name] = values.to_numpy()
                continue
            scores = [v if isinstance(v, Score) else Score() for v in values]
            columns[name] = pd.array([s.mean for s in scores], dtype="Float64")
            columns[f"{name} sd"] = pd.array([s.spread for s in scores], dtype="Float64")
            columns[f"{name} n"] = [s.num_seeds for s in scores]
            if any(s.reason for s in scores):
                columns[f"{name} reason"] = [s.reason for s in scores]
        frame = pd.DataFrame(columns)
        if any(title for title, _ in self.groups):
            starts = {row: title for title, row in self.groups}
            titles = pd.Series([starts.get(i) for i in range(len(frame))], dtype=object).ffill()
            frame.insert(0, "group", titles)
        return frame


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def terminal(sheet: Sheet, width: int = WIDTH) -> str:
    """Return text of at most `width` columns; the best entry of a column has a star.

    A wider sheet is written in several parts, broken between groups of its header where it can be:
    the names of rows come again in each, without rows that have nothing there.
    """
    texts = [
        [text + sheet.marks.get((i, j), "") for j, text in enumerate(row)]
        for i, row in enumerate(sheet.texts)
    ]
    heads, widths = [], []
    for j, parts in enumerate(sheet.header):
        body = max((len(row[j]) for row in texts), default=0)
        room = max(8, min(body, 24))
        head = [line for part in parts if part for line in fold(part, room)]
        heads.append("\n".join(head))
        widths.append(max([body, *map(len, head)]) + 2)
    # columns of text give way before the table is broken into parts, the widest of them first
    texty = [j for j, number in enumerate(sheet.numeric) if not number]
    while texty and sum(widths) - 2 > width:
        widest = max(texty, key=lambda j: widths[j])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    for row in texts:
        for j in texty:
            row[j] = "\n".join(fold(row[j], widths[j] - 2))
    cells = [[head.split("\n") for head in heads]]
    cells += [[text.split("\n") for text in row] for row in texts]
    widths = [2 + max(len(line) for row in cells for line in row[j]) for j in range(len(heads))]
    starts = {row: title for title, row in sheet.groups}
    bodies = []
    for part in _parts(sheet.header, widths, width, sheet.keys):
        rule = "  ".join("-" * (widths[j] - 2) for j in part)
        # a row with nothing in this part comes in another one
        kept = [
            i
            for i, row in enumerate(texts)
            if len(part) == len(heads)
            or any(row[j] not in ("", NOTHING) for j in part[sheet.keys :])
        ]
        lines: list[str] = []
        for i in (-1, *kept):
            lines += [rule] if i > 0 and i in starts else []
            lines += [starts[i]] if starts.get(i) else []
            entries = cells[i + 1]
            high = max(len(entries[j]) for j in part)
            for k in range(high):
                # headings are flush with the last line, entries with the first
                from_top = {j: k - (high - len(entries[j])) * (i < 0) for j in part}
                line = [
                    (
                        entries[j][from_top[j]] if 0 <= from_top[j] < len(entries[j]) else "",
                        widths[j] - 2,
                        j,
                    )
                    for j in part
                ]
                padded = [t.rjust(w) if sheet.numeric[j] else t.ljust(w) for t, w, j in line]
                lines.append("  ".join(padded).rstrip())
            lines += [rule] if i < 0 else []
        bodies.append("\n".join(lines))
    below = [textwrap.fill(told, width) for told in (sheet.legend, sheet.note) if told]
    return "\n".join([sheet.title, "\n\n".join(bodies), *below]) + "\n"


def _parts(
    header: Sequence[tuple[str, ...]], widths: Sequence[int], width: int, num_keys: int
) -> list[list[int]]:
    """Return the columns of each part: the first `num_keys`, and as many others as fit.

    Columns of one outermost heading stay together where they fit into one part.
    """
    keys = list(range(num_keys))
    blocks: list[list[int]] = []
    for j in range(num_keys, len(header)):
        together = len(header[j]) > 1 and header[j][0] == header[j - 1][0]
        blocks = [*blocks[:-1], [*blocks[-1], j]] if blocks and together else [*blocks, [j]]
    room = width - sum(widths[:num_keys]) + 2
    small = [b for b in blocks if sum(widths[j] for j in b) <= room]
    pieces = [p for b in blocks for p in ([b] if b in small else [[j] for j in b])]
    parts: list[list[int]] = []
    used = 0
    for piece in pieces:
        size = sum(widths[j] for j in piece)
        if parts and used + size <= room:
            parts[-1] += piece
            used += size
        else:
            parts.append([*keys, *piece])
            used = size
    return parts or [keys]


def fold(text: str, width: int) -> list[str]:
    """Return the lines of a text, broken at spaces and behind commas, never inside a word."""
    words = text.replace(",", ", ").replace(",  ", ", ") if len(text) > width else text
    return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False) or [""]


def markdown(sheet: Sheet) -> str:
    """Return a Markdown table under a heading; the best entry of a column is bold."""
    lines: list[list[str]] = []
    starts = {row: title for title, row in sheet.groups if title}
    for i, row in enumerate(sheet.texts):
        if i in starts:
            lines.append([f"*{escape.markdown(starts[i])}*", *[""] * (len(row) - 1)])
        lines.append([_marked(text, sheet.marks.get((i, j), "")) for j, text in enumerate(row)])
    heads = [escape.markdown(" ".join(filter(None, parts))) for parts in sheet.header]
    align = ["right" if number else "left" for number in sheet.numeric]
    body = tabulate(lines, heads, "github", disable_numparse=True, colalign=align)
    told = sheet.legend.replace(f"{BEST} {MEANING[BEST]}", f"bold {MEANING[BEST]}")
    return "\n\n".join(filter(None, [f"### {sheet.title}", body, told, sheet.note])) + "\n"


def _marked(text: str, marks: str) -> str:
    text = escape.markdown(text)
    return (f"**{text}**" if BEST in marks else text) + marks.replace(BEST, "")


def stacked(sheets: Sequence[Sheet]) -> pd.DataFrame:
    """Return the numbers of all sheets, with the title of each in the column `table`."""
    frames = [sheet.frame() for sheet in sheets]
    for sheet, frame in zip(sheets, frames, strict=True):
        frame.insert(0, "table", sheet.title)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def as_csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, numbers in full."""
    return escape.csv(frame)
