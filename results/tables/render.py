"""Renderings of a `Table`: terminal, Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from tabulate import tabulate

from results.tables import COSTS, Column, Table, ranked, short
from results.tables.latex import environment, escape

WIDTH = 100
Decorate = Callable[[str, str], str]  # (text, "best" | "second" | "") -> text


def grid(table: Table, decorate: Decorate) -> tuple[list[str], list[list[str]]]:
    """Return (header, rows) of text; best and second of each column are decorated."""
    header = ["method", *(column.title for column in table.columns), *COSTS]
    places = {column: ranked(table, column) for column in table.columns}

    def entry(method: str, column: Column) -> str:
        best, second = places[column]
        place = "best" if method in best else "second" if method in second else ""
        return decorate(str(table.scores[method, column]), place)

    rows = [
        [short(m, table.methods), *(entry(m, c) for c in table.columns), *table.costs[m]]
        for m in table.methods
    ]
    return header, rows


def title(table: Table) -> str:
    """Return the heading of a table."""
    return table.title


def terminal(table: Table) -> str:
    """Return text for a terminal of 100 columns; the best of a column is bold.

    A table that is wider is shown as one table per data set, the caption under the last.
    """
    console = Console(width=WIDTH, file=io.StringIO(), force_terminal=False, record=True)
    parts = [_rich(table)]
    wide = console.options.update(width=10 * WIDTH)
    if Measurement.get(console, wide, parts[0]).maximum > WIDTH:
        names = dict.fromkeys(column.dataset for column in table.columns)
        parts = [_rich(_only(table, name)) for name in names]
    parts[-1].caption = table.caption
    console.print(*parts, sep="\n")
    return console.export_text(styles=False)


def _rich(table: Table) -> RichTable:
    header, rows = grid(table, lambda text, place: f"[bold]{text}[/]" if place == "best" else text)
    rich = RichTable(title=title(table), caption_justify="left")
    for number, name in enumerate(header):
        heading = name.replace(" ", "\n", name.count(" ") - 1)  # "10% (62)" stays together
        rich.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        rich.add_row(*row)
    return rich


def _only(table: Table, dataset: str) -> Table:
    """Return the columns of one data set, for the methods with a cell on it."""
    columns = tuple(c for c in table.columns if c.dataset == dataset)
    planned = [
        m for m in table.methods if any(table.scores[m, c].reason != "missing" for c in columns)
    ]
    return replace(table, columns=columns, methods=tuple(planned))


def markdown(table: Table) -> str:
    """Return a Markdown table; best bold, second underlined."""
    marks = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    header, rows = grid(table, lambda text, place: marks[place].format(text))
    body = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    return f"### {title(table)}\n\n{body}\n\n{table.caption}\n"


def as_csv(table: Table) -> str:
    """Return one row per entry: method, column, mean, spread, seeds or the reason there is none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_WHERE, "mean", "spread", "seeds", "reason", *COSTS, *_IDENTITY])
    for method in table.methods:
        for c in table.columns:
            score = table.scores[method, c]
            where = (c.dataset, c.synthetic, c.metric, c.fraction, c.shots, c.labels)
            values = (score.mean, score.spread, score.num_seeds, score.reason)
            row = (table.backbone, table.image_size, method, *where, *values)
            same = (table.weights, table.precision, table.normalize, c.data, c.split)
            writer.writerow([*row, *table.costs[method], *same])
    return stream.getvalue()


_WHERE = ["backbone", "image_size", "method", "dataset", "synthetic", "metric"]
_WHERE += ["fraction", "shots", "labels"]
_IDENTITY = ("weights", "precision", "normalize", "data", "split_seed")


def latex(table: Table) -> str:
    r"""Return a table environment for `\usepackage{booktabs}`; best bold, second underlined."""
    marks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    header, rows = grid(table, lambda text, place: marks[place].format(escape(text)))
    top = [f"\\rotatebox{{60}}{{{escape(name)}}}" for name in header]
    lines = []
    for row in rows:
        costs = [escape(text) for text in row[-len(COSTS) :]]
        lines.append([escape(row[0]), *row[1 : -len(COSTS)], *costs])
    return environment(top, lines, f"{title(table)}. {table.caption}")


FORMATS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "terminal": ("txt", terminal),
    "markdown": ("md", markdown),
    "csv": ("csv", as_csv),
    "latex": ("tex", latex),
}
