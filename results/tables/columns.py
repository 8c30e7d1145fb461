"""Columns of a table: one per data set, data fingerprint and share of the labels, never mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from benchmark.core.cell import share_of
from benchmark.scores import metric_of
from results.tables.select import BLOCK

DIGITS = 6  # of a fingerprint in a title


@dataclass(frozen=True)
class Column:
    """One (data set, fraction) with the metric that is shown and the labels that it cost.

    `data` is the fingerprint of the images and labels; `split` is a split seed where methods were
    not run on the same splits, else None; `note` tells the column from others of its name.
    """

    dataset: str
    fraction: float
    metric: str
    labels: int
    synthetic: bool
    shots: int = 0
    data: str = ""
    split: int | None = None
    note: str = ""

    @property
    def title(self) -> str:
        """Return the heading, such as "busi kappa 10% (62)"."""
        mark = " synthetic" if self.synthetic else ""
        return f"{self.name}{mark} {metric_of(self.metric).display} {self.amount}"

    @property
    def name(self) -> str:
        """Return the data set with what tells it from another of its name."""
        return f"{self.dataset} {self.note}" if self.note else self.dataset

    @property
    def share(self) -> str:
        """Return how many labels are used, such as "10%" or "5-shot"."""
        return share_of(self.fraction, self.shots)

    @property
    def amount(self) -> str:
        """Return the share with the number of labels, such as "10% (62)", where it is known."""
        return f"{self.share} ({self.labels})" if self.labels else self.share

    @property
    def source(self) -> tuple[str, str, int | None]:
        """Return what columns of one label curve share: data set, fingerprint and split."""
        return (self.dataset, self.data, self.split)

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this column."""
        same = (rows["dataset"] == self.dataset) & (rows["fraction"] == self.fraction)
        same &= rows["shots"] == self.shots
        if self.data:
            # other images or labels under one name are another data set
            same &= rows["data"] == self.data
        if self.split is not None:
            same &= rows["split_seed"] == self.split
        return rows[same]


def columns_of(done: pd.DataFrame, metric: str | None) -> tuple[list[Column], list[str]]:
    """Return (columns with a score in some finished row, a sentence per data set without one).

    `metric` replaces each data set's own.
    """
    columns: list[Column] = []
    lacking: dict[str, str] = {}
    for (dataset, *_), part in done.groupby(list(BLOCK)):
        name = metric or str(part["metric"].iloc[0])
        if f"test_{name}" in part and part[f"test_{name}"].notna().any():
            columns += _by_split(part, name)
        else:
            lacking[str(dataset)] = f"{dataset} has no {name}: its columns are left out."
    return _noted(columns), list(lacking.values())


def _by_split(part: pd.DataFrame, metric: str) -> Iterator[Column]:
    """Yield the column of a block, or one per split seed where methods have different ones."""
    # where all methods have the same splits, splits and seeds are averaged alike; else a method
    # with an easy split would win by it
    seen = part[["method", "split_seed"]].drop_duplicates()
    seeds = seen.groupby("method")["split_seed"].agg(frozenset)
    splits = [None] if len(set(seeds)) == 1 else sorted(seen["split_seed"].unique())
    for split in splits:
        rows = part if split is None else part[part["split_seed"] == split]
        row = rows.iloc[0]
        yield Column(
            dataset=str(row["dataset"]),
            fraction=float(row["fraction"]),
            metric=metric,
            labels=int(row["labels"]),
            synthetic=bool(row["synthetic"]),
            shots=int(row["shots"]),
            data=str(row["data"]),
            split=None if split is None else int(split),
        )


def _noted(columns: list[Column]) -> list[Column]:
    """Return the columns, each with a note of what tells it from others of its data set."""
    prints: dict[str, set[str]] = {}
    for column in columns:
        prints.setdefault(column.dataset, set()).add(column.data)

    def note(column: Column) -> str:
        parts = [column.data[:DIGITS]] if len(prints[column.dataset]) > 1 else []
        parts += [] if column.split is None else [f"split {column.split}"]
        return " ".join(parts)

    # by the share and not by the number of labels, so that columns of two data sets line up
    order = sorted(columns, key=lambda c: (c.dataset, c.data, c.split or 0, c.fraction, c.shots))
    return [replace(column, note=note(column)) for column in order]
