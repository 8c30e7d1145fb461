"""Reads records, makes tables and figures. Knows nothing of torch or of training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.files import filled, write_text
from benchmark.core.registry import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from results.costs.ledger import Ledger
    from results.frame import Frame
    from results.paper_table import Design
    from results.statistics.stats import Statistics
    from results.tables.sheet import Sheet

__all__ = ["Options", "Report", "report"]


@dataclass(frozen=True)
class Report:
    """A finished report: its text, tables and figures, and what was written.

    `tables` are tidy DataFrames by name ("scores", "statistics", "efficiency", ...), numbers as
    numbers; `figures` are by the start of their file names. `faults` is a sentence per record that
    is not used, `notes` are sentences on what is no fault of the results.
    """

    text: str
    paths: tuple[Path, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    figures: Mapping[str, Figure] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Options:
    """How to report.

    `metric` replaces each data set's own, `against` the method that others are compared with.
    `plan_seeds` adds how many seeds see a difference of so many points, `efficiency` shows what
    the methods cost, `ablation` adds a table over one axis. `formats` are of `FORMATS`, `figures`
    are names of `results.figures.KINDS`. `keep` says of a row (the fields of a cell by name)
    whether it is reported; None: all are. `lookup` answers for a ("data", "backbone" or "method",
    name) what its records do not hold: citation, licence, url; `display` with its name for readers
    or "", `family` with that of a method. `paper` are the designs of a paper's tables by the start
    of their file names. `figure_width` is that of a column or page in inches. `replaces`: `out` is
    a folder of reports alone, in which every file may be replaced; else those of the user stay.
    `command` and `thumbnails` are those of `results.html.Outside`.
    """

    metric: str | None = None
    against: str | None = None
    formats: Sequence[str] = ("terminal", "markdown", "csv", "latex")
    plan_seeds: float | None = None
    efficiency: bool = False
    figures: Sequence[str] = ("labels", "parameters", "ranks", "heatmap")
    ablation: str | None = None
    keep: Callable[[Mapping[str, Any]], bool] | None = None
    lookup: Callable[[str, str], dict[str, Any]] | None = None
    display: Callable[[str, str], str] = lambda kind, name: ""
    family: Callable[[str], str] = lambda method: ""
    paper: Mapping[str, Design] = field(default_factory=dict)
    figure_width: float = 3.5
    figure_titles: bool = True
    replaces: bool = False
    command: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None
    thumbnails: Callable[[str, str, Sequence[str]], Mapping[str, bytes]] | None = None


FORMATS = {"terminal": "txt", "markdown": "md", "csv": "csv", "latex": "tex", "html": "html"}


def report(
    runs: Sequence[Path],
    out: Path | None = None,
    keys: Collection[str] | None = None,
    options: Options = Options(),
) -> Report:
    """Make the tables and figures of all records below `runs`, and write them into `out`.

    `keys` limits it to some cells. Without `out` nothing is written.

    Raises:
        InputError: for no record at all, an unknown metric or method, or a folder that cannot be
            written.
    """
    from benchmark.scores import metric_of
    from results import figures, frame, html, paper_table, tables
    from results.costs import ledger
    from results.statistics import rank_table, stats, words
    from results.tables import ablation, external, peek, scores, sheet, sources, trials

    loaded = _kept(frame.load(runs, keys, options.metric), options)
    known = [n.removeprefix("test_") for n in loaded.rows.columns if n.startswith("test_")]
    if options.metric is not None and options.metric not in known:
        raise unknown("metric", options.metric, known)
    if options.metric is not None and metric_of(options.metric).higher_is_better is None:
        raise InputError(
            f"{options.metric!r} ranks nothing ({metric_of(options.metric).definition})"
        )
    options = _named(options, loaded)
    statistics = stats.build(tables.build(loaded, options.metric), runs, options.against)
    built = [tables.with_ties(s.table, s.tied) for s in statistics]
    places = [*runs, *filter(None, [out])]  # times and pictures: beside records, or in the report
    ledgers = [ledger.build(loaded, s.table, places) for s in statistics]
    used = sources.collect(built, options.lookup)
    problems: list[str] = []
    printed: dict[str, list[Sheet]] = {
        "table": [scores.sheet(table) for table in built],
        "efficiency": [ledger.sheet(one) for one in ledgers if one.entries],
        "ranks": [rank_table.build(s) for s in statistics if s.ranking],
        "external": external.build(built, problems),
        "peek": peek.build(built, problems),
    }
    if options.ablation is not None:
        printed["ablation"] = ablation.build(loaded, options.ablation, options.metric)
    for stem, design in options.paper.items():
        made = paper_table.build(loaded, runs, design, options.display, options.family)
        printed[stem] = [made]
    licences = sources.licences(used)
    frames: dict[str, pd.DataFrame] = {
        name: sheet.stacked(sheets) for name, sheets in printed.items()
    }
    frames |= {
        "table": scores.tidy(built),
        "efficiency": ledger.frame(ledgers),
        "statistics": words.frame(statistics),
        "trials": trials.frame(built, loaded.rows),
    }
    files = {
        name: body
        for stem, sheets in printed.items()
        for name, body in _written(stem, sheets, options).items()
    }
    files |= {f"{stem}-protocol.md": f"{printed[stem][0].note}\n" for stem in options.paper}
    files |= {f"{n}.csv": sheet.as_csv(f) for n, f in frames.items() if len(f)}
    if "csv" not in options.formats:
        files = {n: body for n, body in files.items() if not n.endswith(".csv")}
    # whatever the formats: who uses data of others owes them the terms and the citation
    files |= {"licences.md": sheet.markdown(licences), "citations.bib": sources.bibtex(used)}
    drawn, undrawn = figures.draw(
        loaded,
        places,
        statistics,
        options.figures,
        options.figure_width,
        titles=options.figure_titles,
        display=lambda kind, name: options.display(kind, name) or name,
    )
    paths: list[Path] = []
    if out is not None:
        with filled(out, files, replaces=options.replaces) as folder:
            for name, body in files.items():
                write_text(folder / name, body)
                paths.append(folder / name)
            for stem, figure in drawn.items():
                paths += figures.write(figure, folder, stem)
            if "html" in options.formats:
                drawings = {p.name: p.read_text() for p in paths if p.suffix == ".svg"}
                beside = [s for n in ("external", "peek", "ablation") for s in printed.get(n, ())]
                outside = html.Outside(options.display, options.command, options.thumbnails)
                values = html.contents(loaded, statistics, ledgers, runs, beside, outside)
                paths.append(html.write(values, folder, files | drawings))
        paths = [out / path.relative_to(folder) for path in paths]
    return Report(
        _terminal(statistics, ledgers, printed, options),
        tuple(paths),
        loaded.faults,
        (*loaded.notes, *undrawn, *problems),
        {"scores": frames.pop("table"), **{n: f for n, f in frames.items() if len(f)}},
        drawn,
    )


def _named(options: Options, loaded: Frame) -> Options:
    """Return the options with the names and families that own methods have in their records."""
    from results.tables.sources import methods_of

    names, families = (methods_of(loaded.rows, field) for field in ("display", "family"))
    display, family = options.display, options.family

    def shown(kind: str, name: str) -> str:
        return display(kind, name) or (names.get(name, "") if kind == "method" else "")

    return replace(
        options, display=shown, family=lambda method: family(method) or families.get(method, "")
    )


def _terminal(
    statistics: Sequence[Statistics],
    ledgers: Sequence[Ledger],
    printed: Mapping[str, Sequence[Sheet]],
    options: Options,
) -> str:
    """Return what is shown on a terminal: each table with its statistics, then what was asked."""
    from results.costs import ledger
    from results.statistics import sample_size, words
    from results.tables import sheet

    parts = []
    for s, main, costs in zip(statistics, printed["table"], ledgers, strict=True):
        parts += [sheet.terminal(main), words.text(s)]
        if options.plan_seeds is not None:
            parts.append(sample_size.text(s, options.plan_seeds))
        if options.efficiency and costs.entries:
            parts.append(sheet.terminal(ledger.sheet(costs)))
    for name in ("external", "peek", "ablation", *options.paper):
        parts += map(sheet.terminal, printed.get(name, ()))
    return "\n".join(filter(None, parts))


def _written(stem: str, sheets: Sequence[Sheet], options: Options) -> dict[str, str]:
    """Return the text of each printed format by file name; nothing without tables."""
    from results.tables import latex, sheet

    design = options.paper.get(stem)
    writers = {
        "terminal": sheet.terminal,
        "markdown": sheet.markdown,
        "latex": lambda made: latex.latex(made, design.layout if design else "page"),
    }
    return {
        f"{stem}.{FORMATS[name]}": "\n".join(map(to_text, sheets))
        for name, to_text in writers.items()
        if name in options.formats and sheets
    }


def _kept(loaded: Frame, options: Options) -> Frame:
    """Return the frame of what `options.keep` keeps."""
    if options.keep is None:
        return loaded
    rows = loaded.rows
    # before tables are made, so that best, ranks and captions are of what is shown
    wanted = [options.keep(row) for row in rows.to_dict("records")]
    if not any(wanted):
        raise InputError(f"none of {len(rows)} cells is of what was asked for; leave out --suite")
    return replace(loaded, rows=rows[wanted].reset_index(drop=True))
