"""The rank of each method in each column, and on average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from results.statistics.comparison import sign
from results.statistics.stats import Statistics
from results.tables.naming import brief
from results.tables.sheet import Form, Sheet


def build(s: Statistics) -> Sheet:
    """Return the table of a ranked table's methods, best first; ties share their mean rank."""
    assert s.ranking is not None
    columns, methods = s.table.columns, s.ranking.methods
    means = [[sign(c) * s.samples[m, c].mean for c in columns] for m in methods]
    # rounded as the averages are (`summary`), so that ties here are ties there
    ranks = rankdata(-np.array(means).round(9), axis=0)
    order = np.argsort(s.ranking.ranks, kind="stable")
    spans = [s.places.get(methods[i]) for i in order]
    data: dict[Any, Any] = {("", "method"): [brief(methods[i], s.table.methods) for i in order]}
    data |= {(c.name, c.share): ranks[order, j] for j, c in enumerate(columns)}
    data["", "average"] = np.array(s.ranking.ranks)[order]
    if any(spans):
        data["places", "from"] = [span[0] if span else None for span in spans]
        data["places", "to"] = [span[1] if span else None for span in spans]
    forms: dict[Any, Form] = {name: "{:g}".format for name in data if name[1] != "method"}
    forms["", "average"] = "{:.2f}".format
    return Sheet(f"Ranks on {s.table.title}", pd.DataFrame(data), note=_note(s), forms=forms)


def over_sets(s: Statistics) -> str:
    """Return what rank tests run over, such as "3 data sets"."""
    assert s.tested is not None
    num_sets = s.tested.num_blocks
    text = f"{num_sets} data set{'s' * (num_sets > 1)}"
    # fractions of one data set share its test patients: they are no further evidence
    return text + ", each by its mean over columns" * (num_sets < len(s.table.columns))


def _note(s: Statistics) -> str:
    assert s.ranking is not None
    parts = ["Rank 1 is best."]
    if s.places:
        parts.append("Places: those that 95 % joint confidence leaves open, by mean score.")
    if s.tested and s.tested.critical_difference is not None:
        parts.append(
            f"Friedman p = {s.tested.friedman_p:.2g}; Nemenyi's critical difference "
            f"{s.tested.critical_difference:.2f} of average ranks over {over_sets(s)}."
        )
    if s.unranked:
        names = ", ".join(brief(m, s.table.methods) for m in s.unranked)
        parts.append(f"Not ranked, a column is empty: {names}.")
    return " ".join(filter(None, [*parts, s.table.groups]))
