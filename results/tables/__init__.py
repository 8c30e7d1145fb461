"""Tables: method x (data set, label fraction), mean +- spread over seeds, and what is stored.

A `Table` holds numbers; `results.tables.scores` makes the sheet that is printed. Records of other
weights, precision or normalization are in tables of their own, those of other data in columns of
their own: nothing but seeds and splits is averaged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.scores import metric_of
from results.frame import Frame, predictions
from results.tables import caption, regime
from results.tables.columns import Column, columns_of
from results.tables.select import SETTING, best_trials
from results.tables.sheet import BEST, CHANCE, ONCE, RISING, TIED, Score

__all__ = [
    "Column",
    "Costs",
    "Score",
    "Table",
    "best_of",
    "build",
    "marks",
    "named",
    "place",
    "with_ties",
]


class Costs(NamedTuple):
    """What a method trains and stores; missing values are NaN.

    `trained` values without the head and their `share` of the backbone in percent; `stored_mib` of
    the delta with its head, and `copy_share`, that of a full copy in percent.
    """

    trained: float
    share: float
    stored_mib: float
    copy_share: float


UNNAMED = "unnamed backbone"  # of scores of others that say nothing of it


def place(backbone: str, image_size: int) -> str:
    """Return "vit_s14_imgfocus, 56 px"; scores of others may name neither."""
    return f"{backbone or UNNAMED}, {image_size} px" if image_size else backbone or UNNAMED


NO_COSTS = Costs(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Table:
    """The table of one setting (`select.SETTING`); `chosen` are the rows behind each column.

    `note` tells the table from others of its backbone and image size. `groups` is what every sheet
    of these cells has to say of their data's groups (`caption.of_groups`). `tied` holds, where the
    statistics are known, the methods of a column that noise does not tell from its best. `rising`
    holds those that were trained too short (`regime.is_rising`). `chance` is what an answer reaches
    in a column that never looks at the image, in units of tables.
    """

    backbone: str
    image_size: int
    columns: tuple[Column, ...]
    methods: tuple[str, ...]
    scores: dict[tuple[str, Column], Score]
    costs: dict[str, Costs]
    caption: str
    chosen: dict[Column, pd.DataFrame] = field(repr=False)
    weights: str = ""
    normalize: str = ""
    precision: str = ""
    patience: int = 0
    subset: str = ""
    note: str = ""
    groups: str = ""
    tied: Mapping[Column, Collection[str]] = field(default_factory=dict)
    rising: Mapping[Column, Collection[str]] = field(default_factory=dict)
    chance: Mapping[Column, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the backbone with what tells the table from others."""
        return self.named(lambda kind, name: name)

    def named(self, display: Callable[[str, str], str]) -> str:
        """Return `name` for readers: `display` answers for ("backbone", name), or with ""."""
        backbone = display("backbone", self.backbone) or self.backbone or UNNAMED
        return f"{backbone} ({self.note})" if self.note else backbone

    @property
    def title(self) -> str:
        """Return the heading, such as "vit_s14_imgfocus, 56 px, bf16"."""
        where = place(self.backbone, self.image_size)
        return f"{where}, {self.note}" if self.note else where

    @property
    def stem(self) -> str:
        """Return the start of file names, unlike that of any other table."""
        size = f"-{self.image_size}" if self.image_size else ""
        return re.sub(r"[^\w.+-]+", "_", f"{self.name}{size}")

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this table's setting."""
        same = pd.Series(True, index=rows.index)
        for name in SETTING:
            if (value := getattr(self, name)) != "":
                same &= rows[name] == value
        return rows[same]


def build(frame: Frame, metric: str | None = None) -> list[Table]:
    """Return one table per setting; `metric` replaces each data set's own."""
    # groupby sorts by the fields in the order of SETTING; tables come in that of readers
    parts = [part for _, part in frame.rows.groupby(list(SETTING), sort=True)]
    settings = [part.iloc[0][list(SETTING)].to_dict() for part in parts]
    order = sorted(range(len(parts)), key=lambda i: [settings[i][name] for name in _ORDER])
    found = caption.notes(settings)
    return [_table(parts[i], {**settings[i], "note": found[i]}, metric) for i in order]


_ORDER = ("backbone", "image_size", "subset", "patience", "weights", "precision", "normalize")


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
    rising = regime.rising(chosen)
    levels = {
        column: level
        for column in columns
        if (level := _chance(chosen[column], column)) is not None
    }
    sentences = [
        caption.caption(chosen, empty, lacking),
        caption.chance(levels, scores),
        caption.missing(chosen, methods, empty),
        regime.told_rising(rising, len(scores) - len(empty)),
        regime.told_choice(chosen),
        regime.told_edges(chosen, done),
        regime.told_tokens(chosen),
    ]
    groups = caption.of_groups(pd.concat(chosen.values())) if chosen else ""
    sentences.append(groups)
    if setting["note"]:
        sentences.append(
            "Records of other weights, precision, normalization, choice of labels or length of "
            "training: in other tables."
        )
    costs = _costs(done)
    return Table(
        columns=tuple(columns),
        methods=methods,
        scores=scores,
        costs={method: costs.get(method, NO_COSTS) for method in methods},
        caption=" ".join(filter(None, sentences)),
        chosen=chosen,
        groups=groups,
        chance=levels,
        **{**setting, "image_size": int(setting["image_size"])},
        rising=rising,
    )


def by_metric(table: Table, frame: Frame, metric: str) -> Table | None:
    """Return the same cells by another metric, without a caption; None where that would be wrong.

    It is wrong where a trial was chosen: the choice is by the metric that is shown. Else it is what
    `build` gives, in a tenth of the time.
    """
    if any((rows["trials"] > 1).any() for rows in table.chosen.values()):
        return None
    rows = table.of(frame.rows)
    same = {
        column: replace(column, metric=metric)
        for column, best in table.chosen.items()
        if best[f"test_{metric}"].notna().any()
    }
    chosen = {new: table.chosen[column] for column, new in same.items()}
    return replace(
        table,
        columns=tuple(same.values()),
        scores={
            (method, column): score
            for column, best in chosen.items()
            for method, score in _scores(best, column.of(rows), column, table.methods).items()
        },
        caption="",
        chosen=chosen,
        tied={},
        chance={c: level for c in chosen if (level := _chance(chosen[c], c)) is not None},
        rising={new: table.rising[old] for old, new in same.items() if old in table.rising},
    )


def _chance(best: pd.DataFrame, column: Column) -> float | None:
    """Return what an answer reaches that never looks at the image, in units of tables.

    The test images of each class are counted in the stored predictions of one cell: all cells of a
    column are tested on the same images, or on splits of equal shares. Without predictions the
    classes count as equally large, which makes the level too low, never too high.
    """
    metric = metric_of(column.metric)
    first = best.iloc[0]
    counts = None
    if metric.chance is not None and first["task"] == "classification" and len(first["classes"]):
        stored = best["folder"][best["has_predictions"].astype(bool)]
        counts = predictions.class_counts(stored.iloc[0]) if len(stored) else None
        counts = np.ones(len(first["classes"])) if counts is None else counts
    level = metric.chance_level(counts)
    return None if level is None else metric.scale * level


def best_of(done: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Return the rows of a column: of each method, the seeds of its chosen trial."""
    return best_trials(column.of(done), column.metric)


REASONS = ("conflict", "failed", "n/a")  # the first that holds: none is averaged away


def _scores(
    best: pd.DataFrame, here: pd.DataFrame, column: Column, methods: Sequence[str]
) -> dict[str, Score]:
    """Return the score of each method from its chosen rows, or why there is none."""
    name = f"test_{column.metric}"
    # ddof 1, as pandas has it: the spread of a sample of seeds, not of all seeds there could be
    values = best[["method", name]].dropna().groupby("method")[name].agg(["mean", "std", "size"])
    metric = metric_of(column.metric)
    unit, decimals = metric.scale, metric.decimals
    found = {
        str(method): Score(
            unit * mean, unit * std if size > 1 else None, int(size), decimals=decimals
        )
        for method, mean, std, size in values.itertuples(name=None)
    }
    # one failed seed takes the number away: a mean over the seeds that survived is biased upwards
    states = set(here[["method", "state"]].drop_duplicates().itertuples(index=False, name=None))

    def score(method: str) -> Score:
        reasons = [reason for reason in REASONS if (method, reason) in states]
        if method in found and reasons in ([], ["n/a"]):
            return found[method]
        return Score(reason=reasons[0] if reasons else "missing")

    return {method: score(method) for method in methods}


def _costs(done: pd.DataFrame) -> dict[str, Costs]:
    """Return the costs of each method, taken where the head is smallest.

    So a data set with more classes, and with them a larger head, does not hide what is stored.
    """
    # scores of others may come without costs, or with some of them
    order = ["delta_bytes", "trainable_params"]
    done = done.dropna(subset=order, how="all").sort_values(order, kind="stable")
    if done.empty:
        return {}
    # a mean over data sets would depend on which of them a method was run on
    smallest = done.drop_duplicates("method").set_index("method")
    trained, stored = smallest["trainable_params"], smallest["delta_bytes"]
    values = pd.DataFrame(
        {
            "trained": trained,
            "share": 100 * trained / smallest["backbone_params"],
            "stored_mib": stored / 2**20,
            "copy_share": 100 * stored / smallest["full_bytes"],
        }
    )
    return {str(method): Costs(*row) for method, *row in values.itertuples(name=None)}


def with_ties(table: Table, tied: Mapping[Column, Collection[str]]) -> Table:
    """Return the table with what noise does not separate from the best of each column."""
    return replace(table, tied=tied) if any(tied.values()) else table


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
        rising={renamed[c]: methods for c, methods in table.rising.items()},
        chance={renamed[c]: level for c, level in table.chance.items()},
    )


def marks(table: Table, column: Column, digits: int | None = None) -> dict[str, str]:
    """Return the marks (`results.tables.sheet`) of each method with a number in a column.

    The best is the best mean as printed, with `digits` or those of the metric, so that equal
    numbers are marked alike. One run is compared with one run only: where any method was repeated,
    those that were not are never the best. Both the mean and the level of chance are compared as
    printed.
    """
    scores = {m: s for m in table.methods if (s := table.scores[m, column]).mean is not None}
    repeated = {m: s for m, s in scores.items() if s.num_seeds > 1}
    shown = metric_of(column.metric).decimals if digits is None else digits
    means = {m: round(s.mean or 0.0, shown) for m, s in (repeated or scores).items()}
    first = (min if metric_of(column.metric).lower_is_better else max)(means.values(), default=None)
    tied = table.tied.get(column, ())
    level = table.chance.get(column)
    sign = metric_of(column.metric).sign
    found = {}
    for method, score in scores.items():
        mark = BEST if means.get(method) == first else TIED if method in tied else ""
        mean = sign * round(score.mean or 0.0, shown)
        found[method] = (
            mark
            + (CHANCE if level is not None and mean <= sign * round(level, shown) else "")
            + (ONCE if method not in repeated else "")
            + (RISING if method in table.rising.get(column, ()) else "")
        )
    return found
