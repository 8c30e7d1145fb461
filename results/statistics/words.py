"""Statistics as a short text under a table, and as a frame with every number."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd
from tabulate import tabulate

from results.statistics import ranks
from results.statistics.comparison import ALPHA, Comparison
from results.statistics.rank_table import over_sets
from results.statistics.stats import Statistics
from results.statistics.summary import comparable
from results.tables import Column
from results.tables.naming import brief
from results.tables.sheet import WIDTH, Sheet


def text(statistics: Statistics) -> str:
    """Return at most 100 columns: a row per method, then what is and is not told apart."""
    s = statistics
    said = [textwrap.fill(sentence, WIDTH) for sentence in sentences(s)]
    if not s.blockwise:
        return "\n".join(said)
    made = sheet(s)
    header = list(made.data.columns)
    align = ("left", *["right"] * (len(header) - 1))
    body = tabulate(made.texts, header, "simple", disable_numparse=True, colalign=align)
    head = textwrap.fill(f"{made.title}: {made.note}", WIDTH)
    return "\n".join([head, body, *said]) + "\n"


def sheet(s: Statistics) -> Sheet:
    """Return a row per method: rank, places, and how it compares with the reference.

    Columns of several units have no mean, and with it no places and no difference.
    """
    name = brief(s.reference, s.table.methods)
    header = ["method", "rank", "places", f"- {name}", "95 %", "P(better)", "better/tie/worse"]
    rows = pd.DataFrame([_row(s, method) for method in _order(s)], columns=header)
    if not comparable(s.table.columns):
        rows = rows.drop(columns=header[2:6])
    return Sheet(f"Statistics of {s.table.title}", rows, note=_legend(s))


def sentences(s: Statistics) -> list[str]:
    """Return what is and is not told apart."""
    if not s.blockwise:
        return [f"Statistics of {s.table.title}: nothing to compare.", *_notes(s)]
    once = "n = 1: no interval; --seeds 0,1,2 gives each cell three seeds."
    return [once] * (not any(c.seeds > 1 for c in s.blockwise)) + list(_sentences(s))


def _order(s: Statistics) -> list[str]:
    """Return the ranked methods by rank; where there is no ranking, all that are compared."""
    if s.ranking:
        pairs = sorted(zip(s.ranking.ranks, s.ranking.methods, strict=True))
        return [method for _, method in pairs]
    return list(dict.fromkeys(c.method for c in s.blockwise))


def _legend(s: Statistics) -> str:
    blocks, name = len(s.table.columns), brief(s.reference, s.table.methods)
    # a difference is over the columns that have an interval: the header must say over which
    repeated = {c for found in s.blockwise if found.seeds > 1 for c in found.columns}
    over = f"mean over {blocks} columns" if blocks > 1 else "one column"
    if blocks > len(repeated) > 0:
        over = f"mean over the {len(repeated)} of {blocks} columns with several seeds"
    patients = "resampled test patients and " * any(c.patients for c in s.blockwise)
    alone = "" if patients else " alone"
    means = (
        f"places: those that 95 % joint confidence leaves open, by mean score; '- {name}': the "
        f"method minus {name}, {over}; 95 % intervals and P(better) from {patients}the scatter of "
        f"seeds{alone} (paired); "
    ) * comparable(s.table.columns)
    return (
        f"rank 1 is best; {means}better/tie/worse than {name}: columns, t-tests at {ALPHA:g}, Holm "
        f"over {sum(c.p is not None for c in s.blockwise)} of them."
    )


def _row(s: Statistics, method: str) -> list[str]:
    rank, spread = "", ""
    if s.ranking and method in s.ranking.methods:
        rank = f"{s.ranking.ranks[s.ranking.methods.index(method)]:.1f}"
        span = s.places.get(method)
        spread = f"{span[0]} to {span[1]}" if span else ""
    start = [brief(method, s.table.methods), rank, spread]
    against = _against(s, method)
    verdicts = Counter(c.verdict for c in s.blockwise if c.method == method)
    if not verdicts:
        return [*start, "", "", "", "reference" if method == s.reference else ""]
    counts = "/".join(str(verdicts[v]) for v in ("better", "tie", "worse"))
    if verdicts["n = 1"]:
        counts += f" ({verdicts['n = 1']} n = 1)"
    if against is None:
        return [*start, "", "", "", counts]
    return [
        *start,
        f"{against.difference:+z.1f}",
        " to ".join(f"{v:+z.1f}" for v in against.interval) if against.interval else "n = 1",
        "" if against.probability is None else f"{against.probability:.2f}",
        counts,
    ]


def _against(s: Statistics, method: str) -> Comparison | None:
    """Return the method's comparison with the reference over all columns."""
    found = s.overall if len(s.table.columns) > 1 else s.blockwise
    for c in found:
        if (c.method, c.other) == (method, s.reference):
            return c
        if (c.other, c.method) == (method, s.reference):
            return c.flipped()
    return None


def _sentences(s: Statistics) -> Iterable[str]:
    yield from _over_blocks(s)
    for column in s.table.columns:
        yield f"Best or tied on {column.name} {column.share}: {_tied(s, column)}."
    if s.unranked and s.ranking:
        names = ", ".join(brief(m, s.table.methods) for m in s.unranked)
        yield f"Not ranked, a column is empty: {names}."
    yield from _notes(s)


def _notes(s: Statistics) -> Iterable[str]:
    yield from (f"Note: {note}." for note in s.notes)


def _over_blocks(s: Statistics) -> Iterable[str]:
    if s.ranking and not comparable(s.table.columns):
        yield (
            "Columns of several units or directions have no mean: no difference over columns, no "
            "places by mean score and no test of Wilcoxon; average ranks hold."
        )
    compared = [c for c in s.overall if c.p_holm is not None]
    if s.tested and compared:
        blocks, pairs = s.tested.num_blocks, len(compared)
        found = sum(c.verdict != "tie" for c in compared)
        # with few sets no data could reach significance; "0 of 15" alone would read as a finding
        best = min(1.0, ranks.smallest_p(blocks) * pairs)
        few = f" (with so few none can be: the smallest p is {best:.2g})" * (best >= ALPHA)
        yield (
            f"Wilcoxon over {over_sets(s)}, exact, with Holm separates {found} of {pairs} "
            f"pairs{few}."
        )
    if s.tested and s.tested.critical_difference is not None:
        num = len(s.tested.methods)
        yield (
            f"Friedman over {over_sets(s)}: p = {s.tested.friedman_p:.2g}; Nemenyi's critical "
            f"difference of {s.tested.critical_difference:.1f} ranks separates "
            f"{s.tested.separated()} of {num * (num - 1) // 2} pairs."
        )


def _tied(s: Statistics, column: Column) -> str:
    scores = {m: s.table.scores[m, column] for m in s.table.methods}
    once = sum(score.num_seeds == 1 for score in scores.values())
    scored = sum(score.num_seeds > 1 for score in scores.values())
    found = s.tied[column]
    # "all 8" instead of eight names: that nothing is told apart is the message
    every = len(found) == scored > 2
    names = f"all {scored}" if every else ", ".join(brief(m, s.table.methods) for m in found)
    return (names or "none") + f"; one seed, left out: {once}" * (once > 0)


def frame(found: Sequence[Statistics]) -> pd.DataFrame:
    """Return one row per comparison; columns are explained by `Comparison`.

    `dataset` and `share` are empty where a row is over all columns of a table.
    """
    rows = []
    for s in found:
        for c in (*s.blockwise, *s.overall):
            one = c.columns[0] if c.test == "t" else None
            low, high = c.interval or (None, None)
            patients_low, patients_high = c.patients or (None, None)
            rows.append(
                {
                    "backbone": s.table.name,
                    "image_size": s.table.image_size,
                    "dataset": one.name if one else "",
                    "share": one.share if one else "",
                    "metric": one.metric if one else "",
                    "method": c.method,
                    "other": c.other,
                    "difference": c.difference,
                    "low": low,
                    "high": high,
                    "patients_low": patients_low,
                    "patients_high": patients_high,
                    "probability": c.probability,
                    "seeds": c.seeds,
                    "test": c.test,
                    "p": c.p,
                    "p_holm": c.p_holm,
                    "verdict": c.verdict,
                }
            )
    return pd.DataFrame(rows)
