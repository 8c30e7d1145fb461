"""What the page shows, as plain values for JSON: every number, rank and interval is made here.

Legend: M methods, N columns of one table.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.cell import share_of
from benchmark.core.files import ERROR, UNSUPPORTED, read_bytes
from benchmark.core.record import RECORD, Record, read_record
from benchmark.scores import metric_of
from results import tables as built_tables
from results.costs import ledger
from results.costs.ledger import Ledger
from results.figures.style import looks
from results.frame import Frame
from results.html.details import of_column
from results.html.provenance import provenance
from results.statistics import comparison, rank_table, stats, words
from results.statistics.stats import Statistics
from results.statistics.summary import Summary, summarise
from results.tables import Column, Table, marks
from results.tables.naming import displayed
from results.tables.select import GROUP, RULE, TUNED
from results.tables.sheet import MEANING, Score, Sheet

Values = dict[str, Any]
# Beyond these the page would take minutes to make or megabytes to load; it says what it leaves out.
MOST_PAIRS = 5_000  # methods against methods, in every column; 0.5 ms and 30 bytes each
MOST_RESAMPLED = 3_000  # cells x metrics whose patients are resampled for metrics not asked for
MOST_CELLS = 10_000  # whose predictions are read for details


@dataclass(frozen=True)
class Outside:
    """What the records do not hold, and who makes the page knows.

    `display` answers with the name for readers of a ("method", "data" or "backbone", name), or
    with nothing. `command` gives the flags of `run` by axis that make a cell (its fields by name)
    again. `thumbnails` gives small pictures (JPEG) by image id, for a data set, its fingerprint and
    the ids that are wanted; it leaves out what it cannot find.
    """

    display: Callable[[str, str], str] = lambda kind, name: ""
    command: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None
    thumbnails: Callable[[str, str, Sequence[str]], Mapping[str, bytes]] | None = None


@dataclass
class Page:
    """What the parts of the page are made from; `metrics` are the definitions that it names."""

    frame: Frame
    runs: Sequence[Path]
    outside: Outside = Outside()
    metrics: dict[str, Values] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    resampled: bool = True  # also of metrics that were not asked for; else those have no intervals

    def metric(self, name: str) -> str:
        """Note a metric that the page names, and return its name."""
        one = metric_of(name)
        self.metrics[name] = {
            "label": one.display,
            "unit": one.unit,
            "scale": one.scale,
            "decimals": one.decimals,
            "less": one.lower_is_better,
            "about": one.definition,
        }
        return name


def contents(
    frame: Frame,
    statistics: Sequence[Statistics],
    ledgers: Sequence[Ledger] = (),
    runs: Sequence[Path] = (),
    sheets: Sequence[Sheet] = (),
    outside: Outside = Outside(),
) -> Values:
    """Return everything that the page shows, without the downloads; a ledger for each table.

    `statistics` are those of each table, by each data set's own metric (or the one that was asked
    for); `sheets` are further tables.
    """
    page = Page(frame, runs, outside)
    chosen = [best for s in statistics for best in s.table.chosen.values()]
    rows = pd.concat(chosen).dropna(subset="train_s") if chosen else frame.rows[:0]
    detailed = len(rows) <= MOST_CELLS
    # one reading for provenance and curves; nothing is known of scores of others
    page.records = {f: read_record(Path(f) / RECORD) for f in dict.fromkeys(rows["folder"])}
    others = _other_metrics(page, statistics)
    tables = [
        _table(page, s, one, [(n, by[i]) for n, by in others if by[i]], detailed=detailed)
        for i, (s, one) in enumerate(zip(statistics, ledgers, strict=True))
    ]
    return {
        "tables": tables,
        "thumbs": _thumbnails(page, tables),
        "metrics": page.metrics,
        "marks": MEANING,
        "counts": {str(k): int(v) for k, v in frame.rows["state"].value_counts().items()},
        "rule": RULE,
        "about": provenance(rows, list(page.records.values())),
        "sheets": [sheet_values(sheet) for sheet in sheets],
        "failures": _failures(page),
        "faults": list(frame.faults),
    }


def _other_metrics(
    page: Page, statistics: Sequence[Statistics]
) -> list[tuple[str, list[Statistics | None]]]:
    """Return for each further metric in the records its statistics, table by table.

    Patients are resampled where that takes no minutes, and else intervals are left out.
    """
    rows = page.frame.rows
    own = {c.metric for s in statistics for c in s.table.columns}
    names = [n.removeprefix("test_") for n in rows.columns if n.startswith("test_")]
    # of the metrics that every class has for itself, the page shows those of an entry only
    names = [
        n for n in names if (m := metric_of(n)).higher_is_better is not None and not m.of_class
    ]
    wanted = [n for n in names if rows[f"test_{n}"].notna().any() and own != {n}]
    page.resampled = bool(sum(rows[f"test_{n}"].notna().sum() for n in wanted) <= MOST_RESAMPLED)
    found: list[tuple[str, list[Statistics | None]]] = []
    for name in wanted:
        folders = page.runs if page.resampled else ()
        quick = [built_tables.by_metric(s.table, page.frame, name) for s in statistics]
        made = stats.build(
            [table for table in quick if table is not None]
            if all(quick)
            else built_tables.build(page.frame, name),
            folders,
        )
        by_title = {s.table.title: s for s in made if s.table.columns}
        found.append((name, [by_title.get(s.table.title) for s in statistics]))
    return found


def _table(
    page: Page,
    s: Statistics,
    mine: Ledger,
    others: Sequence[tuple[str, Statistics | None]],
    *,
    detailed: bool,
) -> Values:
    table = s.table
    shown = page.outside.display
    bases = dict.fromkeys(m.partition("(")[0] for m in table.methods)
    names = displayed(table.methods, {b: shown("method", b) or b for b in bases})
    details, entries = _details(page, table) if detailed else ({}, {})
    # most flags are the same in all cells of a table: written once they take a quarter of the bytes
    common, commands = _commands(page, table)
    return {
        "backbone": table.named(shown),
        "title": table.title,
        "size": table.image_size,
        "caption": table.caption,
        "reference": list(table.methods).index(s.reference) if s.reference else None,
        "columns": [
            _column(page, table, column) | details.get(column, {}) for column in table.columns
        ],
        "methods": [_method(table, m, names[m]) for m in table.methods],
        "views": [_view(page, name, one, s) for name, one in [("", s), *others] if one],
        "pairs": _pairs(s),
        "entries": entries,
        "runs": _runs(page, table),
        "command": common,
        "commands": commands,
        "statistics": sheet_values(words.sheet(s)) if s.blockwise else None,
        "said": words.sentences(s),
        "resampled": page.resampled,
        "ranks": sheet_values(rank_table.build(s)) if s.ranking else None,
        "ledger": sheet_values(ledger.sheet(mine)) if mine.entries else None,
    }


def _column(page: Page, table: Table, column: Column) -> Values:
    best = table.chosen[column]
    classes = next(iter(best["classes"]), ())
    level = table.chance.get(column)
    return {
        "dataset": _dataset(page, column),
        "source": column.dataset,
        "data": column.data,
        "share": column.share,
        "labels": column.labels,
        "metric": page.metric(column.metric),
        "synthetic": column.synthetic,
        "task": str(next(iter(best["task"]), "")),
        "classes": list(classes) if isinstance(classes, list | tuple) else [],
        "chance": None if level is None else round(level, 2),
    }


def _dataset(page: Page, column: Column) -> str:
    """Return the name of a column's data set for readers, unlike that of any other."""
    name = page.outside.display("data", column.dataset) or column.dataset
    return f"{name} {column.note}" if column.note else name


def _method(table: Table, method: str, name: str) -> Values:
    look, costs = looks(table.methods)[method], table.costs[method]
    known = not math.isnan(costs.trained)
    return {
        "spec": method,
        "name": name,
        "colour": look.hex,
        "marker": look.marker,
        "dash": {"-": "", "--": "6 4", ":": "2 3"}[look.line],
        "trained": int(costs.trained) if known else None,
        "share": round(costs.share, 4) if known else None,
        "stored": round(costs.stored_mib, 4) if known else None,
    }


def _place(columns: Sequence[Column], wanted: Column) -> int:
    """Return the place of a column of the same data and labels, whatever its metric."""
    same = [(c.dataset, c.data, c.split, c.share) for c in columns]
    return same.index((wanted.dataset, wanted.data, wanted.split, wanted.share))


def _view(page: Page, name: str, s: Statistics, own: Statistics) -> Values:
    """Return the scores of one metric ("": of each data set's own), and what sums them up.

    `scores` (M, N) are [mean, deviation, runs, marks], or [reason] where there is no number.
    """
    table = built_tables.with_ties(s.table, s.tied)
    columns = sorted(table.columns, key=lambda c: _place(own.table.columns, c))
    marked = {c: marks(table, c) for c in columns}
    none = Score(reason="missing")
    rows: list[list[list[Any]]] = []
    for method in own.table.methods:
        rows.append([])
        for column in columns:
            score = table.scores.get((method, column), none)
            rows[-1].append(
                [score.reason]
                if score.mean is None
                else [
                    # as printed: rounded twice, 72.3501 would be 72.4 here and 72.3 on the page
                    round(score.mean, score.decimals),
                    None if score.spread is None else round(score.spread, score.decimals),
                    score.num_seeds,
                    marked[column].get(method, ""),
                ]
            )
    bare = bool(name) and not page.resampled
    subsets: dict[str, list[Column]] = {"": columns}
    for column in columns:
        subsets.setdefault(f"share {column.share}", []).append(column)
        subsets.setdefault(f"set {_dataset(page, column)}", []).append(column)
    return {
        "metric": name and page.metric(name),
        "columns": [_place(own.table.columns, c) for c in columns],
        "scores": rows,
        "sums": {
            key: _sum(summarise(s.samples, table.methods, part), own.table.methods, bare=bare)
            for key, part in subsets.items()
        },
    }


def _sum(summary: Summary, methods: Sequence[str], *, bare: bool) -> Values:
    """Return [rank, first place, last place, average, low, high] of each method, null unknown."""
    ranked = summary.ranking
    ranks = dict(zip(ranked.methods, ranked.ranks, strict=True)) if ranked else {}
    digits = max((metric_of(c.metric).decimals for c in summary.columns), default=1)
    rows: list[list[float | None]] = []
    for method in methods:
        average = summary.averages.get(method)
        first, last = (not bare and summary.places.get(method)) or (None, None)
        low, high = (not bare and average and average.interval) or (None, None)
        mean = average.mean if average else None
        rank = ranks.get(method)
        scores = [None if v is None else round(v, digits) for v in (mean, low, high)]
        rows.append([None if rank is None else round(rank, 2), first, last, *scores])
    tested = summary.tested
    p, difference = (tested.friedman_p, tested.critical_difference) if tested else (None, None)
    return {
        "rows": rows,
        "decimals": digits,
        "friedman": None if p is None else float(f"{p:.2g}"),
        "difference": None if difference is None else round(difference, 2),
        "sets": tested.num_blocks if tested else 0,
    }


def _pairs(s: Statistics) -> Values:
    """Return every two methods "i,j" (i < j) compared in each column, and over all of them.

    A comparison is [difference, low, high, P(better), p], p corrected over the columns of the pair.
    With very many pairs they are those with the reference only.
    """
    methods, columns = s.table.methods, s.table.columns
    every = list(itertools.combinations(range(len(methods)), 2))
    if len(every) * len(columns) > MOST_PAIRS:
        every = [pair for pair in every if s.reference in (methods[pair[0]], methods[pair[1]])]
    overall = {(c.method, c.other): c for c in s.overall}
    found: dict[str, Any] = {}
    for i, j in every:
        pair = [
            comparison.compare(s.samples, methods[i], methods[j], [c])
            if (methods[i], c) in s.samples and (methods[j], c) in s.samples
            else None
            for c in columns
        ]
        known = iter(comparison.corrected([c for c in pair if c is not None]))
        together = overall.get((methods[i], methods[j]))
        if any(pair):
            found[f"{i},{j}"] = [
                *(_compared(next(known)) if c is not None else None for c in pair),
                _compared(together) if together else None,
            ]
    return {"all": len(every) == math.comb(len(methods), 2), "found": found}


def _compared(c: comparison.Comparison) -> list[float | None]:
    low, high = c.interval or (None, None)
    digits = max(metric_of(column.metric).decimals for column in c.columns)
    rounded = [None if v is None else round(v, digits) for v in (c.difference, low, high)]
    better = None if c.probability is None else round(c.probability, 2)
    return [*rounded, better, None if c.p_holm is None else float(f"{c.p_holm:.2g}")]


def _details(page: Page, table: Table) -> tuple[dict[Column, Values], Values]:
    """Return the images of each column, and the details of each entry "m,c"."""
    of_columns, entries = {}, {}
    for place, column in enumerate(table.columns):
        found, images = of_column(table, column, page.records)
        of_columns[column] = {"images": images}
        for method, values in found.items():
            entries[f"{table.methods.index(method)},{place}"] = values
    return of_columns, entries


def _thumbnails(page: Page, tables: Sequence[Values]) -> dict[str, dict[str, str]]:
    """Return pictures (JPEG, base64) by data set's fingerprint and image id, each once."""
    if page.outside.thumbnails is None:
        return {}
    wanted: dict[tuple[str, str], dict[str, None]] = {}
    for column in (c for table in tables for c in table["columns"]):
        ids = wanted.setdefault((column["source"], column["data"]), {})
        ids |= dict.fromkeys(column.get("images", {}).get("ids", ()))
    return {
        data: {name: base64.b64encode(jpeg).decode() for name, jpeg in small.items()}
        for (source, data), ids in wanted.items()
        if ids and (small := page.outside.thumbnails(source, data, list(ids)))
    }


def _runs(page: Page, table: Table) -> Values:
    """Return every finished run of each entry "m,c", and which metrics their numbers are of.

    A run is [seed, split, trial, chosen, folder, step, seconds, scores of the metrics].
    """
    done = table.of(page.frame.done).dropna(subset="train_s")
    names = [n for n in done.columns if n.startswith("test_") and done[n].notna().any()]
    metrics = [page.metric(n.removeprefix("test_")) for n in names]
    base = min((str(r) for r in page.runs), key=len, default="")
    found: dict[str, list[list[Any]]] = {}
    shown = ["seed", "split_seed", "key", "folder", "selected_step", "train_s", *names]
    trials_of = done.groupby([*GROUP, *TUNED], sort=True, dropna=False).ngroup()
    for place, column in enumerate(table.columns):
        here = column.of(done)
        chosen = set(table.chosen[column]["key"])
        for method, rows in here.groupby("method", sort=False):
            trials = trials_of[rows.index].rank(method="dense").astype(int)
            used = [i for i, n in enumerate(names) if rows[n].notna().any()]
            values = [
                [
                    int(row["seed"]),
                    int(row["split_seed"]),
                    trial,
                    int(row["key"] in chosen),
                    str(row["folder"]).removeprefix(base).lstrip("/"),
                    int(row["selected_step"]),
                    round(float(row["train_s"]), 1),
                    [_rounded(row[names[i]], metrics[i]) for i in used],
                ]
                for row, trial in zip(rows[shown].to_dict("records"), trials.tolist(), strict=True)
            ]
            found[f"{table.methods.index(str(method))},{place}"] = [used, *values]
    return {"metrics": metrics, "found": found}


def _rounded(value: float, metric: str) -> float | None:
    """Return a stored score with the digits that are printed of it; None where it is undefined."""
    one = metric_of(metric)
    return None if math.isnan(value) else round(value, one.decimals + 2 * one.is_share)


def _commands(page: Page, table: Table) -> tuple[str, dict[str, str]]:
    """Return (what all commands share, the rest of each entry "m,c") without their seeds."""
    if page.outside.command is None:
        return "", {}
    flags: dict[str, dict[str, str]] = {}
    for place, column in enumerate(table.columns):
        best = table.chosen[column].dropna(subset="train_s")
        for row in best.drop_duplicates("method").to_dict("records"):
            flags[f"{table.methods.index(row['method'])},{place}"] = dict(page.outside.command(row))
    if not flags:
        return "", {}
    first = next(iter(flags.values()))
    shared = {n: v for n, v in first.items() if all(f.get(n) == v for f in flags.values())}
    apart = {"seeds", "split_seeds"}

    def text(values: Mapping[str, str], skipped: set[str]) -> str:
        return "".join(
            f" --{n.replace('_', '-')} {v}" for n, v in values.items() if n not in skipped
        )

    return (
        f"python -m benchmark run{text(shared, apart)}",
        {entry: text(values, apart | shared.keys()) for entry, values in flags.items()},
    )


def _failures(page: Page) -> list[list[Any]]:
    """Return [state, method, data set, share, seed, reason] of each cell without a score."""
    rows = page.frame.rows
    found = []
    for row in rows[~rows["state"].isin(["done"])].to_dict("records"):
        file = {"failed": ERROR, "n/a": UNSUPPORTED}.get(row["state"])
        reason = "its records disagree; the warnings above name them"
        if file is not None:
            try:
                # the first paragraph is the reason, below it is the traceback
                told = read_bytes(Path(row["folder"]) / file).decode(errors="replace")
                text = told.strip().split("\n\n")[0]
                reason = text if len(text) <= 300 else f"{text[:300]}…"
            except OSError:
                reason = "not stored"
        share = share_of(row["fraction"], row["shots"])
        dataset = page.outside.display("data", row["dataset"]) or row["dataset"]
        where = built_tables.place(row["backbone"], row["image_size"])
        found.append([row["state"], row["method"], dataset, share, int(row["seed"]), where, reason])
    return found


def sheet_values(sheet: Sheet) -> Values:
    """Return a table to print: texts with their marks, and the numbers that it is sorted by."""
    keys = []
    for column in sheet.data.to_numpy(dtype=object).T.tolist():
        means = [v.mean if isinstance(v, Score) else v for v in column]
        keys.append([v if isinstance(v, int | float) and v == v else None for v in means])
    return {
        "title": sheet.title,
        "header": [" ".join(filter(None, parts)) for parts in sheet.header],
        "numeric": sheet.numeric,
        "rows": [
            [text + sheet.marks.get((i, j), "") for j, text in enumerate(row)]
            for i, row in enumerate(sheet.texts)
        ],
        "keys": [list(row) for row in zip(*keys, strict=True)],
        "note": " ".join(filter(None, [sheet.legend, sheet.note])),
    }
