"""A paper beside what was measured: its claims with verdicts, its numbers with matching cells."""

from __future__ import annotations

import csv
import io
import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark.core.files import write_text
from benchmark.core.registry import InputError
from results import frame, tables
from results.papers import papers
from results.papers.evidence import Evidence, Finding
from results.papers.findings import judge
from results.papers.papers import Number, Paper
from results.reporting import Report
from results.statistics import stats
from results.tables import Column, Table, short

WIDTH = 100


def compare(runs: Sequence[Path], out: Path, name: str) -> Report:
    """Write claims.csv and claims.md, or published.csv, into `out` and return them as text.

    Raises:
        InputError: for an unknown paper, no readable record, or none of the paper's methods.
    """
    paper = papers.read(name)
    loaded = frame.load(runs)
    head = f"{paper.title}\n{paper.citation}\nread in: {paper.source}"
    head = "\n".join(textwrap.fill(line, WIDTH) for line in head.splitlines())
    if paper.numbers:
        return _numbers(paper, loaded, out, head)
    found = _judge(paper, loaded, runs)
    if not any(findings for _, findings in found):
        wanted = " or ".join(paper.methods)
        raise InputError(
            f"no finished cell of {wanted} below {', '.join(map(str, runs))}; train some with "
            f"`python -m benchmark run --methods full,{paper.methods[0]} --fractions 0.4,1.0`"
        )
    text = "\n".join([head, *(_text(table, findings) for table, findings in found if findings)])
    text += "\n" + _differences(paper)
    write_text(out / "claims.csv", _csv(found))
    write_text(out / "claims.md", _markdown(paper, found))
    return Report(text, (out / "claims.csv", out / "claims.md"), loaded.faults, loaded.notes)


def _judge(
    paper: Paper, loaded: frame.Frame, runs: Sequence[Path]
) -> list[tuple[Table, list[Finding]]]:
    """Return the findings of each table: one per backbone and image size."""
    found = []
    pairs = [tables.build(loaded), tables.build(loaded, "kappa")]
    statistics = [stats.build(built, runs) for built in pairs]
    for own, kappa in zip(*statistics, strict=True):
        table = own.table
        rows = table.of(loaded.rows)
        evidence, by_kappa = (Evidence(rows, s, paper.methods) for s in (own, kappa))
        found.append((table, judge(paper, evidence, by_kappa)))
    return found


def _text(table: Table, findings: Sequence[Finding]) -> str:
    """Return the findings by claim, at most 100 columns wide."""
    parts = [f"\n{table.title}"]
    for number, (claim, group) in enumerate(itertools.groupby(findings, lambda f: f.claim), 1):
        parts.append(f"\n{number}. {claim.text}: published {claim.published}")
        rows = [
            (
                short(f.method, table.methods)[:13],
                f.dataset[:17],
                f.measured,
                f"{f.verdict}: {f.reason}",
            )
            for f in group
        ]
        widths = [13, 17, 26, 36]
        parts.append(tabulate(rows, tablefmt="plain", maxcolwidths=widths, disable_numparse=True))
    return "\n".join(parts)


def _differences(paper: Paper) -> str:
    header = ("protocol", "the authors", "here")
    body = tabulate(paper.differences, header, tablefmt="simple", maxcolwidths=[14, 42, 38])
    return f"\n{body}\n"


def _csv(found: Sequence[tuple[Table, Sequence[Finding]]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = "backbone image_size claim published method data measured value low high verdict reason"
    writer.writerow(head.split())
    for table, findings in found:
        for f in findings:
            span = f.interval or ("", "")
            where = (table.name, table.image_size, f.claim.text, f.claim.published)
            what = (f.method, f.dataset, f.measured, f.value, *span, f.verdict, f.reason)
            writer.writerow([*where, *what])
    return stream.getvalue()


def _markdown(paper: Paper, found: Sequence[tuple[Table, Sequence[Finding]]]) -> str:
    parts = [f"# {paper.title}\n\n{paper.citation}. Read in: {paper.source}."]
    header = ("claim", "published", "method", "data", "measured", "verdict", "why")
    for table, findings in found:
        rows = [
            (
                f.claim.text,
                f.claim.published,
                short(f.method, table.methods),
                f.dataset,
                f.measured,
                f"**{f.verdict}**",
                f.reason,
            )
            for f in findings
        ]
        body = tabulate(rows, header, tablefmt="github", disable_numparse=True)
        parts.append(f"## {table.title}\n\n{body}")
    differences = tabulate(paper.differences, ("protocol", "the authors", "here"), "github")
    return "\n\n".join([*parts, f"## Protocol\n\n{differences}"]) + "\n"


def _numbers(paper: Paper, loaded: frame.Frame, out: Path, head: str) -> Report:
    """Return published numbers beside cells of the same method, backbone, data and metric."""
    metrics = {n.metric for n in paper.numbers if f"test_{n.metric}" in loaded.rows}
    built = {metric: tables.build(loaded, metric) for metric in sorted(metrics)}
    rows = [
        (*_where(n), f"{n.value:.2f}", _measured(n, built.get(n.metric, ()))) for n in paper.numbers
    ]
    header = ("method", "data", "labels", "metric", "backbone", "published", "measured here")
    body = tabulate(rows, header, disable_numparse=True)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    write_text(out / "published.csv", stream.getvalue())
    text = f"{head}\n{textwrap.fill(f'protocol: {paper.protocol}', WIDTH)}\n\n{body}\n"
    return Report(text, (out / "published.csv",), loaded.faults, loaded.notes)


def _where(number: Number) -> tuple[str, str, str, str, str]:
    shots = f"{number.shots} shots" if number.shots else ""
    labels = f"{number.labels:,}" if number.labels else ""
    share = f"{100 * number.fraction:g}%" if number.fraction else ""
    used = shots or labels or share
    return (number.method, number.dataset, used, number.metric, number.backbone)


def _measured(number: Number, built: Sequence[Table]) -> str:
    """Return mean and spread of each matching entry of the tables, or that there is none."""
    found = []
    for table in built:
        if table.backbone != number.backbone or number.image_size not in (None, table.image_size):
            continue
        columns = [c for c in table.columns if _matches(number, c)]
        for method, column in itertools.product(table.methods, columns):
            score = table.scores[method, column]
            rows = table.chosen[column]
            labels = rows["labels"][rows["method"] == method]
            if number.labels is not None and set(labels) != {number.labels}:
                continue
            if method.partition("(")[0] == number.method and score.mean is not None:
                found.append(f"{score}" + " (n = 1)" * (score.spread is None))
    return "; ".join(found) or "no such cell"


def _matches(number: Number, column: Column) -> bool:
    return (
        column.dataset == number.dataset
        and column.shots == (number.shots or 0)
        and number.fraction in (None, column.fraction)
    )
