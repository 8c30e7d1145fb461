"""Tables: method x (data set, label fraction), mean +- spread over seeds, and what is stored.

One list of cells of text is made first; terminal, Markdown, CSV and LaTeX are renderings of it.
Records of other weights, precision or normalisation stand in tables of their own, those of other
data in columns of their own: nothing else than seeds and splits is averaged.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from benchmark.scores import metric_of
from results.frame import Frame
from results.tables import caption
from results.tables.columns import Column, columns_of
from results.tables.select import SETTING, best_trials

__all__ = ["COSTS", "Column", "Score", "Table", "best_of", "build", "named", "ranked", "short"]


@dataclass(frozen=True)
class Score:
    """One entry: mean and standard deviation (ddof 1) over n seeds, as shown, or a reason."""

    mean: float | None = None
    spread: float | None = None
    num_seeds: int = 0
    reason: str = ""
    decimals: int = 1

    def __str__(self) -> str:
        if self.mean is None:
            return self.reason
        spread = "" if self.spread is None else f" ± {self.spread:.{self.decimals}f}"
        return f"{self.mean:.{self.decimals}f}{spread}"


@dataclass(frozen=True)
class Table:
    """The table of one setting (`select.SETTING`); `chosen` are the rows behind each column.

    `note` tells the table from others of its backbone and image size. `tied` holds, where the
    statistics are known, the methods of a column that noise does not tell from its best.
    """

    backbone: str
    image_size: int
    columns: tuple[Column, ...]
    methods: tuple[str, ...]
    scores: dict[tuple[str, Column], Score]
    costs: dict[str, tuple[str, ...]]
    caption: str
    chosen: dict[Column, pd.DataFrame] = field(repr=False)
    weights: str = ""
    normalize: str = ""
    precision: str = ""
    note: str = ""
    tied: Mapping[Column, Collection[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the backbone with what tells the table from others."""
        return f"{self.backbone} ({self.note})" if self.note else self.backbone

    @property
    def title(self) -> str:
        """Return the heading, such as "vit_s14_imgfocus, 56 px, bf16"."""
        return f"{self.backbone}, {self.image_size} px" + (f", {self.note}" if self.note else "")

    @property
    def stem(self) -> str:
        """Return the start of file names, unlike that of any other table."""
        return re.sub(r"[^\w.+-]+", "_", f"{self.name}-{self.image_size}")

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this table's setting."""
        same = pd.Series(True, index=rows.index)
        for name in SETTING:
            if value := getattr(self, name):
                same &= rows[name] == value
        return rows[same]


COSTS = ("trained", "share", "stored")


def build(frame: Frame, metric: str | None = None) -> list[Table]:
    """Return one table per setting; `metric` replaces each data set's own."""
    parts = [part for _, part in frame.rows.groupby(list(SETTING), sort=True)]
    settings = [part.iloc[0][list(SETTING)].to_dict() for part in parts]
    order = sorted(range(len(parts)), key=lambda i: [settings[i][name] for name in _ORDER])
    found = caption.notes(settings)
    return [_table(parts[i], {**settings[i], "note": found[i]}, metric) for i in order]


_ORDER = ("backbone", "image_size", "weights", "precision", "normalize")


def _table(rows: pd.DataFrame, setting: Mapping[str, Any], metric: str | None) -> Table:
    done = rows[rows["state"] == "done"]
    columns, lacking = columns_of(done, metric) if len(done) else ([], [])
    chosen = {column: best_of(done, column) for column in columns}
    methods = tuple(rows["method"].drop_duplicates())
    scores = {
        (method, column): score
        for column, best in chosen.items()
        for method, score in _scores(best, column.of(rows), column, methods).items()
    }
    empty = {entry: score.reason for entry, score in scores.items() if score.mean is None}
    sentences = [
        caption.caption(chosen, empty, lacking),
        caption.missing(chosen, methods, empty),
    ]
    if setting["note"]:
        sentences.append("Records of other weights, precision or normalization: in other tables.")
    costs = _costs(done)
    return Table(
        columns=tuple(columns),
        methods=methods,
        scores=scores,
        costs={method: costs.get(method, ("", "", "")) for method in methods},
        caption=" ".join(filter(None, sentences)),
        chosen=chosen,
        **{**setting, "image_size": int(setting["image_size"])},
    )


def best_of(done: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Return the rows of a column: of each method, the seeds of its chosen trial."""
    return best_trials(column.of(done), column.metric)


REASONS = ("conflict", "failed", "n/a")  # the first that holds: none is averaged away


def _scores(
    best: pd.DataFrame, here: pd.DataFrame, column: Column, methods: Sequence[str]
) -> dict[str, Score]:
    """Return the score of each method from its chosen rows, or why there is none."""
    name = f"test_{column.metric}"
    values = best[["method", name]].dropna().groupby("method")[name].agg(["mean", "std", "size"])
    metric = metric_of(column.metric)
    unit, decimals = metric.scale, metric.decimals
    found = {
        str(method): Score(
            unit * mean, unit * std if size > 1 else None, int(size), decimals=decimals
        )
        for method, mean, std, size in values.itertuples(name=None)
    }
    states = set(here[["method", "state"]].drop_duplicates().itertuples(index=False, name=None))

    def score(method: str) -> Score:
        reasons = [reason for reason in REASONS if (method, reason) in states]
        if method in found and reasons in ([], ["n/a"]):
            return found[method]
        return Score(reason=reasons[0] if reasons else "missing")

    return {method: score(method) for method in methods}


def _costs(done: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return trained values, their share of the backbone, and stored bytes against a full copy.

    Taken where the head is smallest, so that a data set with a larger head does not hide it.
    """
    if done.empty:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for _, row in done.loc[done.groupby("method")["delta_bytes"].idxmin()].iterrows():
        share = 100 * row["trainable_params"] / row["backbone_params"]
        part = 100 * row["delta_bytes"] / row["full_bytes"]
        stored = f"{row['delta_bytes'] / 2**20:.2f} MiB ({part:.1f}%)"
        found[row["method"]] = (f"{int(row['trainable_params']):,}", f"{share:.2f}%", stored)
    return found


def with_ties(table: Table, tied: Mapping[Column, Collection[str]]) -> Table:
    """Return the table with what noise does not tell from the best of each column."""
    if not any(tied.values()):
        return table
    told = (
        "Bold: the best, and all whose difference to it has a 95 % interval that holds 0; "
        "underlined: the next."
    )
    return replace(table, tied=tied, caption=f"{table.caption} {told}")


def named(table: Table) -> Table:
    """Return the table with its notes in the names of backbone and data sets, for figures."""
    renamed = {c: replace(c, dataset=c.name, note="") for c in table.columns}
    return replace(
        table,
        backbone=table.name,
        note="",
        columns=tuple(renamed.values()),
        scores={(m, renamed[c]): score for (m, c), score in table.scores.items()},
        chosen={renamed[c]: rows for c, rows in table.chosen.items()},
        tied={renamed[c]: methods for c, methods in table.tied.items()},
    )


def ranked(table: Table, column: Column) -> tuple[set[str], set[str]]:
    """Return (best, second) methods of a column by their printed mean; ties share a place.

    Where the statistics are known, all that noise does not tell from the best are best as well.
    """
    means = {
        m: round(s.mean, s.decimals)
        for m in table.methods
        if (s := table.scores[m, column]).mean is not None
    }
    tied = set(table.tied.get(column, ()))
    order = sorted(set(means.values()), reverse=metric_of(column.metric).sign > 0)
    best = {m for m, v in means.items() if v == order[0]} | tied if order else set()
    rest = [v for v in order if any(v == w for m, w in means.items() if m not in best)]
    return best, {m for m, v in means.items() if rest and v == rest[0] and m not in best}


def short(method: str, methods: Sequence[str]) -> str:
    """Return the method's name without arguments where that is unambiguous in the table."""
    name = method.partition("(")[0]
    return name if [m.partition("(")[0] for m in methods].count(name) == 1 else method
