"""Reads records, makes tables and figures. Knows nothing of torch or of training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.frame import Frame
    from results.statistics.stats import Statistics
    from results.tables import Table

__all__ = ["Options", "Report", "report"]


@dataclass(frozen=True)
class Report:
    """What was written: text for a terminal, the files, a sentence per record that is not used.

    `notes` are sentences on what is no fault of the results.
    """

    text: str
    paths: tuple[Path, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """How to report: `metric` replaces each data set's own, `against` the compared-with method.

    `plan_seeds` adds how many seeds see a difference of so many points, `efficiency` what the
    methods cost, `ablation` a table over one axis. `formats` are those of `results.render.FORMATS`,
    `figures` (beside label curves, parameters and ranks) those of `results.figures.KINDS`.
    `keep` says of a row (the fields of a cell by name) whether it is reported; None: all are.
    `lookup` tells of a ("data", "backbone" or "method", name) what its records do not: citation,
    licence, url.
    """

    metric: str | None = None
    against: str | None = None
    formats: Sequence[str] = ("terminal", "markdown", "csv", "latex")
    plan_seeds: float | None = None
    efficiency: bool = False
    figures: Sequence[str] = ("heatmap",)
    ablation: str | None = None
    keep: Callable[[Mapping[str, Any]], bool] | None = None
    lookup: Callable[[str, str], dict[str, str]] | None = None


def report(
    runs: Sequence[Path],
    out: Path,
    keys: Collection[str] | None = None,
    options: Options = Options(),
) -> Report:
    """Write tables and figures of all records below `runs` into `out`.

    `keys` limits it to some cells.

    Raises:
        InputError: for no record at all, an unknown metric or method, or a folder that cannot be
            written.
    """
    from benchmark.core.files import write_text
    from benchmark.core.registry import InputError, unknown
    from benchmark.scores import metric_of
    from results import frame, tables
    from results.statistics import stats
    from results.tables import external, peek, render, trials

    loaded = _kept(frame.load(runs, keys), options)
    metric = options.metric
    known = [n.removeprefix("test_") for n in loaded.rows.columns if n.startswith("test_")]
    if metric is not None and metric not in known:
        raise unknown("metric", metric, known)
    if metric is not None and metric_of(metric).higher_is_better is None:
        raise InputError(f"{metric!r} ranks nothing ({metric_of(metric).definition})")
    statistics = stats.build(tables.build(loaded, metric), runs, options.against)
    found = [tables.with_ties(s.table, s.tied) for s in statistics]
    paths = []
    for name in (n for n in options.formats if n in render.FORMATS):  # html: `_beneath`
        suffix, to_text = render.FORMATS[name]
        paths.append(out / f"table.{suffix}")
        write_text(paths[-1], "\n".join(to_text(table) for table in found))
    paths += _figures(loaded, runs, found, out, options)
    if curves := trials.joined(found, loaded.rows):
        paths.append(out / "trials.csv")
        write_text(paths[-1], curves)
    extra, more = _extras(loaded, options, out)
    paths += [*more, *_sources(found, options, out)]
    below, written = _beneath(loaded, runs, statistics, out, options)
    parts = [f"{render.terminal(t)}\n{b}" for t, b in zip(found, below, strict=True)]
    parts.append(external.text(loaded.beside("external"), loaded.rows))
    parts.append(peek.text(loaded.beside("peek"), set(loaded.rows["key"])))
    text = "\n".join(filter(None, [*parts, *extra]))
    return Report(text, (*paths, *written), loaded.faults, loaded.notes)


def _figures(
    loaded: Frame, runs: Sequence[Path], found: Sequence[Table], out: Path, options: Options
) -> list[Path]:
    """Write the figures of all tables and return their paths."""
    from results import figures, tables
    from results.figures import style

    paths = [path for table in found for path in style.save(tables.named(table), out)]
    return paths + figures.save(loaded, runs, found, out, options.figures)


def _kept(loaded: Frame, options: Options) -> Frame:
    """Return the frame of what `options.keep` keeps."""
    from benchmark.core.registry import InputError

    if options.keep is None:
        return loaded
    rows = loaded.rows
    wanted = [options.keep(row) for row in rows.to_dict("records")]
    if not any(wanted):
        raise InputError(f"none of {len(rows)} cells is of what was asked for; leave out --suite")
    return replace(loaded, rows=rows[wanted].reset_index(drop=True))


def _extras(loaded: Frame, options: Options, out: Path) -> tuple[list[str], list[Path]]:
    """Write the ablation that was asked for; return (texts, paths)."""
    from benchmark.core.files import write_text
    from results.tables import ablation, plain

    if options.ablation is None:
        return [], []
    made = ablation.build(loaded, options.ablation, options.metric)
    files = plain.files("ablation", made, options.formats)
    for name, body in files.items():
        write_text(out / name, body)
    return [plain.terminal(table) for table in made], [out / name for name in files]


def _sources(found: Sequence[Table], options: Options, out: Path) -> list[Path]:
    """Write licences.md and citations.bib of all that the tables use."""
    from benchmark.core.files import write_text
    from results.tables import plain, sources

    used = sources.collect(found, options.lookup)
    write_text(out / "licences.md", plain.markdown(sources.licences(used)))
    write_text(out / "citations.bib", sources.bibtex(used))
    return [out / "licences.md", out / "citations.bib"]


def _beneath(
    frame: Frame, runs: Sequence[Path], found: Sequence[Statistics], out: Path, options: Options
) -> tuple[list[str], list[Path]]:
    """Write statistics.csv, efficiency.csv, .md and .tex, and rank diagrams; return (texts, paths).

    `found` are the statistics of each table.
    """
    from benchmark.core.files import write_text
    from results import html
    from results.costs import ledger, ledger_text
    from results.figures import diagram
    from results.statistics import planning, rank_table, words
    from results.tables import named, plain

    ledgers = [ledger.build(frame, s.table, runs) for s in found]
    files = {
        "statistics.csv": words.as_csv(found),
        "efficiency.csv": ledger_text.as_csv(ledgers),
        "efficiency.md": "\n".join(map(ledger_text.markdown, ledgers)),
        "efficiency.tex": "\n".join(map(ledger_text.latex, ledgers)),
        **plain.files("ranks", [rank_table.build(s) for s in found if s.ranking], options.formats),
    }
    for name, body in files.items():
        write_text(out / name, body)
    paths = [out / name for name in files]
    if "html" in options.formats:
        paths.append(html.write(frame, found, ledgers, out))
    for s in found:
        paths += diagram.save(replace(s, table=named(s.table)), out)
    texts = []
    for s, costs in zip(found, ledgers, strict=True):
        parts = [words.text(s)]
        if options.plan_seeds is not None:
            parts.append(planning.text(s, options.plan_seeds))
        if options.efficiency:
            parts.append(ledger_text.text(costs))
        texts.append("\n".join(parts))
    return texts, paths
