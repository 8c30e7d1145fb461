"""A paper beside what was measured: its claims with verdicts, its numbers with matching cells."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.core.files import filled, write_text
from benchmark.core.registry import InputError
from benchmark.core.spec import base_name
from results import frame, tables
from results.papers import papers, protocols
from results.papers.evidence import Evidence, Finding
from results.papers.findings import judge
from results.papers.papers import Number, Paper
from results.reporting import Report
from results.statistics import stats
from results.tables import Column, Table
from results.tables.naming import brief
from results.tables.sheet import WIDTH, Sheet, as_csv, markdown, stacked, terminal


def compare(runs: Sequence[Path], out: Path, name: str, *, replaces: bool = False) -> Report:
    """Write claims.csv and claims.md, or published.csv, into `out` and return them as text.

    `replaces` as in `results.Options`.

    Raises:
        InputError: for an unknown paper, no readable record, or none of the paper's methods.
    """
    paper = papers.read(name)
    loaded = frame.load(runs)
    head = f"{paper.title}\n{paper.citation}\nread in: {paper.source}"
    head = "\n".join(textwrap.fill(line, WIDTH) for line in head.splitlines())
    if paper.numbers:
        return _numbers(paper, loaded, out, head, replaces)
    judged = _judge(paper, loaded, runs)
    if not any(findings for _, findings in judged):
        wanted = " or ".join(paper.methods)
        raise InputError(
            f"no finished cell of {wanted} below {', '.join(map(str, runs))}; train some with "
            f"`python -m benchmark run --methods full,{paper.methods[0]} --fractions 0.4,1.0`"
        )
    protocol = Sheet(
        "Protocol",
        pd.DataFrame(paper.differences, columns=["protocol", "the authors", "here"]),
    )
    parts, texts = [f"# {paper.title}\n\n{paper.citation}. Read in: {paper.source}."], [head]
    for table, findings in judged:
        rows = _frame(table, findings)
        shown = ["method", "data", "measured", "verdict", "reason"]
        parts.append(markdown(Sheet(table.title, rows[["claim", "published", *shown]])))
        texts.append(f"\n{table.title}" if findings else "")
        for number, (claim, group) in enumerate(rows.groupby("claim", sort=False), 1):
            title = f"\n{number}. {claim}: published {group['published'].iloc[0]}"
            texts.append(terminal(Sheet(title, group[shown])))
    values = pd.concat([_frame(table, findings) for table, findings in judged])
    files = {"claims.csv": as_csv(values), "claims.md": "\n\n".join([*parts, markdown(protocol)])}
    beside, made_of = protocols.sheets(loaded), {"claims": values}
    if beside:
        made_of["protocols"] = stacked(beside)
        files["protocols.csv"] = as_csv(made_of["protocols"])
        files["protocols.md"] = "\n\n".join(map(markdown, beside))
    with filled(out, files, replaces=replaces) as made:
        for file, body in files.items():
            write_text(made / file, body)
    text = "\n".join(filter(None, [*texts, terminal(protocol), *map(terminal, beside)]))
    paths = tuple(out / file for file in files)
    return Report(text, paths, loaded.faults, loaded.notes, made_of)


def _judge(
    paper: Paper, loaded: frame.Frame, runs: Sequence[Path]
) -> list[tuple[Table, list[Finding]]]:
    """Return the findings of each table: one per backbone and image size."""
    judged = []
    pairs = [tables.build(loaded), tables.build(loaded, "kappa")]
    statistics = [stats.build(built, runs) for built in pairs]
    for own, kappa in zip(*statistics, strict=True):
        table = own.table
        rows = table.of(loaded.rows)
        evidence, by_kappa = (Evidence(rows, s, paper.methods) for s in (own, kappa))
        judged.append((table, judge(paper, evidence, by_kappa)))
    return judged


def _frame(table: Table, findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one row per finding, its value and interval as numbers."""
    return pd.DataFrame(
        [
            {
                "backbone": table.name,
                "image_size": table.image_size,
                "claim": f.claim.text,
                "published": f.claim.published,
                "method": brief(f.method, table.methods),
                "data": f.dataset,
                "measured": f.measured,
                "value": f.value,
                "low": f.interval[0] if f.interval else None,
                "high": f.interval[1] if f.interval else None,
                "verdict": f.verdict,
                "reason": f.reason,
            }
            for f in findings
        ],
        columns=list(_COLUMNS),
    )


_COLUMNS = (
    *("backbone", "image_size", "claim", "published", "method", "data", "measured"),
    *("value", "low", "high", "verdict", "reason"),
)


def _numbers(paper: Paper, loaded: frame.Frame, out: Path, head: str, replaces: bool) -> Report:
    """Return published numbers beside cells of the same method, backbone, data and metric."""
    metrics = {n.metric for n in paper.numbers if f"test_{n.metric}" in loaded.rows}
    built = {metric: tables.build(loaded, metric) for metric in sorted(metrics)}
    rows = []
    for n in paper.numbers:
        shots = f"{n.shots} shots" if n.shots else ""
        labels = f"{n.labels:,}" if n.labels else ""
        share = f"{100 * n.fraction:g}%" if n.fraction else ""
        rows.append(
            {
                "method": n.method,
                "data": n.dataset,
                "labels": shots or labels or share,
                "metric": n.metric,
                "backbone": n.backbone,
                "published": n.value,
                "measured here": _measured(n, built.get(n.metric, ())),
            }
        )
    values = pd.DataFrame(rows)
    with filled(out, ["published.csv"], replaces=replaces) as made:
        write_text(made / "published.csv", as_csv(values))
    shown = Sheet(
        "Published and measured",
        values,
        note=f"Protocol: {paper.protocol}",
        forms={"published": "{:.2f}".format},
    )
    text = f"{head}\n\n{terminal(shown)}"
    paths = (out / "published.csv",)
    return Report(text, paths, loaded.faults, loaded.notes, {"published": values})


def _measured(number: Number, built: Sequence[Table]) -> str:
    """Return mean and spread of each matching entry of the tables, or that there is none."""
    scores = []
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
            if base_name(method) == number.method and score.mean is not None:
                scores.append(f"{score}" + " (n = 1)" * (score.spread is None))
    return "; ".join(scores) or "no such cell"


def _matches(number: Number, column: Column) -> bool:
    return (
        column.dataset == number.dataset
        and column.shots == (number.shots or 0)
        and number.fraction in (None, column.fraction)
    )
