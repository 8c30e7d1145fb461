"""The rank of each method in each column, and on average."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from results.statistics.comparison import sign
from results.statistics.stats import Statistics
from results.tables import short
from results.tables.plain import Plain


def build(s: Statistics) -> Plain:
    """Return the table of a ranked table's methods, best first; ties share their mean rank."""
    assert s.ranking is not None
    columns = s.table.columns
    means = [[sign(c) * s.samples[m, c].mean for c in columns] for m in s.ranking.methods]
    ranks = rankdata(-np.array(means).round(9), axis=0)
    order = np.argsort(s.ranking.ranks, kind="stable")
    rows = [
        [
            short(s.ranking.methods[i], s.table.methods),
            *(f"{value:g}" for value in ranks[i]),
            f"{s.ranking.ranks[i]:.2f}",
            _interval(s, s.ranking.methods[i]),
        ]
        for i in order
    ]
    header = ["method", *(f"{c.name} {c.share}" for c in columns), "average", "places"]
    return Plain(f"Ranks on {s.table.title}", header, rows, _caption(s))


def _interval(s: Statistics, method: str) -> str:
    span = s.places.get(method)
    return "n = 1" if span is None else f"{span[0]} to {span[1]}"


def _caption(s: Statistics) -> str:
    assert s.ranking is not None
    told = "Rank 1 is best. Places: those that 95 % joint confidence leaves open, by mean score."
    if s.ranking.critical_difference is not None:
        told += (
            f" Friedman p = {s.ranking.friedman_p:.2g}; Nemenyi's critical difference "
            f"{s.ranking.critical_difference:.2f} over {s.ranking.num_blocks} columns."
        )
    if s.unranked:
        names = ", ".join(short(m, s.table.methods) for m in s.unranked)
        told += f" Not ranked, a column is empty: {names}."
    return told
