"""What stands under a table: statistics, the plan of seeds, the efficiency ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.record import write_text
from results import (
    Options,
    diagram,
    html,
    ledger,
    ledger_text,
    plain,
    planning,
    rank_table,
    stats_text,
)
from results.frame import Frame
from results.stats import Statistics
from results.tables import named


def _ranks(found: Sequence[Statistics], formats: Sequence[str]) -> dict[str, str]:
    """Return the rank tables by file name; none where nothing is ranked."""
    made = [rank_table.build(s) for s in found if s.ranking]
    return plain.files("ranks", made, formats)


def write(
    frame: Frame, runs: Sequence[Path], found: Sequence[Statistics], out: Path, options: Options
) -> tuple[list[str], list[Path]]:
    """Write statistics.csv, efficiency.csv, .md and .tex, and rank diagrams; return (texts, paths).

    `found` are the statistics of each table.
    """
    ledgers = [ledger.build(frame, s.table, runs) for s in found]
    files = {
        "statistics.csv": stats_text.as_csv(found),
        "efficiency.csv": ledger_text.as_csv(ledgers),
        "efficiency.md": "\n".join(map(ledger_text.markdown, ledgers)),
        "efficiency.tex": "\n".join(map(ledger_text.latex, ledgers)),
        **_ranks(found, options.formats),
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
        parts = [stats_text.text(s)]
        if options.plan_seeds is not None:
            parts.append(planning.text(s, options.plan_seeds))
        if options.efficiency:
            parts.append(ledger_text.text(costs))
        texts.append("\n".join(parts))
    return texts, paths
