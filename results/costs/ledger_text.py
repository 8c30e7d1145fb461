"""The efficiency ledger as text of at most 100 columns, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import astuple, fields

from tabulate import tabulate

from results.costs.ledger import CPU, Entry, Ledger
from results.tables import short
from results.tables.latex import environment, escape

WIDTH = 100
HEADER = (
    "method",
    "trained",
    "share",
    "active",
    "MiB",
    "GFLOP",
    "img/s",
    "infer",
    "merged",
    "train",
    "+search",
    "peak",
    "score",
    "PPT",
    "PPE",
    "PME",
)


def text(ledger: Ledger) -> str:
    """Return the ledger for a terminal."""
    rows = _shown([HEADER, *_rows(ledger)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        " ".join(
            [row[0].ljust(widths[0])]
            + [text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
    rule = " ".join("-" * w for w in widths)
    where = f"Efficiency on {ledger.backbone}, {ledger.image_size} px, {_devices(ledger)}"
    below = textwrap.fill(caption(ledger), WIDTH)
    return "\n".join([where, lines[0], rule, *lines[1:], below]) + "\n"


def markdown(ledger: Ledger) -> str:
    """Return the ledger as a Markdown table under a heading."""
    head = f"### Efficiency on {ledger.backbone}, {ledger.image_size} px, {_devices(ledger)}"
    header, *rows = _shown([HEADER, *_rows(ledger)])
    body = tabulate(rows, header, "github", disable_numparse=True)
    return f"{head}\n\n{body}\n\n{caption(ledger)}\n"


def latex(ledger: Ledger) -> str:
    """Return the ledger as a LaTeX table."""
    where = f"Efficiency on {ledger.backbone}, {ledger.image_size} px, {_devices(ledger)}"
    header, *rows = ([escape(text) for text in row] for row in _shown([HEADER, *_rows(ledger)]))
    return environment(header, rows, f"{where}. {caption(ledger)}")


def as_csv(ledgers: Sequence[Ledger]) -> str:
    """Return one row per method with every number; columns are those of `Entry`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["backbone", "image_size", "devices", *(f.name for f in fields(Entry))])
    for ledger in ledgers:
        start = (ledger.backbone, ledger.image_size, "; ".join(ledger.devices))
        writer.writerows([*start, *astuple(entry)] for entry in ledger.entries)
    return stream.getvalue()


def _devices(ledger: Ledger) -> str:
    return ", ".join(ledger.devices) or "nothing"


def _rows(ledger: Ledger) -> list[tuple[str, ...]]:
    names = [entry.method for entry in ledger.entries]
    return [_row(entry, short(entry.method, names)) for entry in ledger.entries]


def _shown(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the rows without the columns that are empty below the header."""
    kept = [i for i in range(len(HEADER)) if i == 0 or any(row[i] for row in rows[1:])]
    return [tuple(row[i] for i in kept) for row in rows]


def _row(e: Entry, name: str) -> tuple[str, ...]:
    return (
        name[:13] + "*" * e.best,
        _count(e.trained),
        f"{e.share:.2f}%",
        _count(e.active),
        f"{e.stored:.2f}",
        f"{e.gflop:.1f}",
        f"{e.images_per_s:.0f}",
        *("" if v is None else f"{v:.2f}x" for v in (e.latency, e.merged)),
        _time(e.seconds),
        _time(e.searched),
        "" if e.peak is None else f"{e.peak:.0f}",
        *("" if v is None else f"{v:.1f}" for v in (e.score, e.ppt, e.ppe, e.pme)),
    )


def _count(value: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def _time(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"


def caption(ledger: Ledger) -> str:
    """Return what the columns are, and how far the combined scores order methods as the score."""
    parts = [
        "* is on the Pareto front of score and trained values. "
        f"share: of {ledger.backbone}; active: values at inference, unmerged; MiB: stored delta "
        "with head; GFLOP: training, one image; "
        "train: one cell; +search: with all trials it was chosen from; score: mean over columns; "
        "PPT, PPE, PME: published combined scores of parameters and training memory."
    ]
    if CPU in ledger.devices:
        parts.append("No peak memory and PME on a CPU, where it is the whole process's.")
    if len(ledger.devices) > 1:
        parts.append("Times are of several devices: compare them with care.")
    if any(e.latency for e in ledger.entries):
        parts.append("infer, merged: time of inference in multiples of the bare backbone's.")
    for name in ("ppt", "ppe", "pme"):
        value = ledger.agreement(name)
        if value is not None:
            parts.append(f"{name.upper()} orders methods as the score does: Spearman {value:.2f}.")
    return " ".join(parts)
