"""What stands under a table: statistics, the plan of seeds, the efficiency ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.record import write_text
from results import Options, diagram, html, ledger, ledger_text, planning, stats, stats_text
from results.frame import Frame
from results.tables import Table


def write(
    frame: Frame, runs: Sequence[Path], tables: Sequence[Table], out: Path, options: Options
) -> tuple[list[str], list[Path]]:
    """Write statistics.csv, efficiency.csv and .md, and rank diagrams; return (texts, paths)."""
    statistics = stats.build(tables, runs, options.against)
    ledgers = [ledger.build(frame, table, runs) for table in tables]
    files = {
        "statistics.csv": stats_text.as_csv(statistics),
        "efficiency.csv": ledger_text.as_csv(ledgers),
        "efficiency.md": "\n".join(map(ledger_text.markdown, ledgers)),
    }
    for name, body in files.items():
        write_text(out / name, body)
    paths = [out / name for name in files]
    if "html" in options.formats:
        paths.append(html.write(frame, runs, statistics, ledgers, out))
    for s in statistics:
        paths += diagram.save(s, out)
    texts = []
    for s, costs in zip(statistics, ledgers, strict=True):
        parts = [stats_text.text(s)]
        if options.plan_seeds is not None:
            parts.append(planning.text(s, options.plan_seeds))
        if options.efficiency:
            parts.append(ledger_text.text(costs))
        texts.append("\n".join(parts))
    return texts, paths
