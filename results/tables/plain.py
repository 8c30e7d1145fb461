"""A table of text in four forms; what ranks, ablations, costs and licences have in common."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from results.tables.latex import environment, escape

WIDTH = 100


@dataclass(frozen=True)
class Plain:
    """`rows` of text under a `header`; `bold` are (row, column) numbers of the best entries."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    bold: Collection[tuple[int, int]] = ()

    def marked(self, form: str, plain: Callable[[str], str] = str) -> list[list[str]]:
        """Return the rows as `plain` makes them, with `form` around what is bold."""
        return [
            [form.format(plain(v)) if (i, j) in self.bold else plain(v) for j, v in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]


def terminal(table: Plain) -> str:
    """Return text of at most 100 columns where the entries allow it; the best has a star."""
    body = tabulate(table.marked("{}*"), table.header, "simple", disable_numparse=True)
    told = f"{table.caption} A star: the best of its row." if table.bold else table.caption
    return f"{table.title}\n{body}\n{textwrap.fill(told, WIDTH)}\n"


def markdown(table: Plain) -> str:
    """Return a Markdown table under a heading."""
    body = tabulate(table.marked("**{}**"), table.header, "github", disable_numparse=True)
    return f"### {table.title}\n\n{body}\n\n{table.caption}\n"


def latex(table: Plain) -> str:
    r"""Return a table environment for `\usepackage{booktabs}`."""
    rows = table.marked(r"\textbf{{{}}}", escape)
    header = [escape(name) for name in table.header]
    return environment(header, rows, f"{table.title}. {table.caption}")


def as_csv(table: Plain) -> str:
    """Return the rows with the title in front of each."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["table", *table.header])
    writer.writerows([table.title, *row] for row in table.rows)
    return stream.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Plain], str]]] = {
    "terminal": ("txt", terminal),
    "markdown": ("md", markdown),
    "csv": ("csv", as_csv),
    "latex": ("tex", latex),
}


def files(stem: str, tables: Sequence[Plain], formats: Sequence[str]) -> dict[str, str]:
    """Return the text of each format by file name; nothing without tables."""
    made = {}
    for name in (n for n in formats if n in FORMATS) if tables else ():
        suffix, to_text = FORMATS[name]
        made[f"{stem}.{suffix}"] = "\n".join(map(to_text, tables))
    return made
