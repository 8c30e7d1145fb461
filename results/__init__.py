"""Reads records, makes tables and figures. Knows nothing of torch or of training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    methods cost. `formats` are
    those of `results.render.FORMATS`.
    """

    metric: str | None = None
    against: str | None = None
    formats: Sequence[str] = ("terminal", "markdown", "csv", "latex")
    plan_seeds: float | None = None
    efficiency: bool = False


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
    from benchmark.record import write_text
    from benchmark.registry import unknown
    from results import external, figures, frame, peek, render, stats, tables, trials, under

    loaded = frame.load(runs, keys)
    metric = options.metric
    known = [n.removeprefix("test_") for n in loaded.rows.columns if n.startswith("test_")]
    if metric is not None and metric not in known:
        raise unknown("metric", metric, known)
    statistics = stats.build(tables.build(loaded, metric), runs, options.against)
    found = [tables.with_ties(s.table, s.tied) for s in statistics]
    paths = []
    for name in options.formats:
        suffix, to_text = render.FORMATS[name]
        paths.append(out / f"table.{suffix}")
        write_text(paths[-1], "\n".join(to_text(table) for table in found))
    for table in found:
        paths += figures.save(tables.named(table), out)
    if curves := trials.joined(found, loaded.rows):
        paths.append(out / "trials.csv")
        write_text(paths[-1], curves)
    below, written = under.write(loaded, runs, statistics, out, options)
    parts = [f"{render.terminal(t)}\n{b}" for t, b in zip(found, below, strict=True)]
    parts.append(external.text(loaded.beside("external"), loaded.rows))
    parts.append(peek.text(loaded.beside("peek"), set(loaded.rows["key"])))
    text = "\n".join(filter(None, parts))
    return Report(text, (*paths, *written), loaded.faults, loaded.notes)
