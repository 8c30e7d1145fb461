"""Reads records, makes tables and figures. Knows nothing of torch or of training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Report", "report"]


@dataclass(frozen=True)
class Report:
    """What was written: text for a terminal, the files, a sentence per unreadable record."""

    text: str
    paths: tuple[Path, ...]
    faults: tuple[str, ...]


def report(
    runs: Sequence[Path],
    out: Path,
    *,
    keys: Collection[str] | None = None,
    metric: str | None = None,
    formats: Sequence[str] = ("terminal", "markdown", "csv", "latex"),
) -> Report:
    """Write tables and figures of all records below `runs` into `out`.

    `keys` limits it to some cells; `metric` replaces each data set's own; `formats` are those of
    `results.render.FORMATS`.

    Raises:
        InputError: for no record at all, an unknown metric, or a folder that cannot be written.
    """
    from benchmark.record import write_text
    from benchmark.registry import unknown
    from results import figures, frame, render, tables

    loaded = frame.load(runs, keys)
    known = [n.removeprefix("test_") for n in loaded.rows.columns if n.startswith("test_")]
    if metric is not None and metric not in known:
        raise unknown("metric", metric, known)
    found = tables.build(loaded, metric)
    paths = []
    for name in formats:
        suffix, to_text = render.FORMATS[name]
        paths.append(out / f"table.{suffix}")
        write_text(paths[-1], "\n".join(to_text(table) for table in found))
    for table in found:
        paths += figures.save(table, out)
    text = "\n".join(render.terminal(table) for table in found)
    return Report(text, tuple(paths), loaded.faults)
