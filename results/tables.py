"""Tables: method x (data set, label fraction), mean +- spread over seeds, and what is stored.

One list of cells of text is made first; terminal, Markdown, CSV and LaTeX are renderings of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from results.direction import less_is_better, scale
from results.frame import Frame
from results.select import RULE, best_trials


@dataclass(frozen=True)
class Score:
    """One entry: mean and standard deviation (ddof 1) over n seeds, in percent, or a reason."""

    mean: float | None = None
    spread: float | None = None
    num_seeds: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if self.mean is None:
            return self.reason
        return f"{self.mean:.1f}" + ("" if self.spread is None else f" ± {self.spread:.1f}")


@dataclass(frozen=True)
class Column:
    """One (data set, fraction) with the metric that is shown and the labels that it cost."""

    dataset: str
    fraction: float
    metric: str
    labels: int
    synthetic: bool
    shots: int = 0

    @property
    def title(self) -> str:
        """Return the heading, such as "busi kappa 10% (62)"."""
        mark = " synthetic" if self.synthetic else ""
        metric = self.metric.replace("_", " ")
        return f"{self.dataset}{mark} {metric} {self.share} ({self.labels})"

    @property
    def share(self) -> str:
        """Return how many labels are used, such as "10%" or "5-shot"."""
        return f"{self.shots}-shot" if self.shots else f"{100 * self.fraction:g}%"

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this column."""
        same = (rows["dataset"] == self.dataset) & (rows["fraction"] == self.fraction)
        return rows[same & (rows["shots"] == self.shots)]


@dataclass(frozen=True)
class Table:
    """The table of one backbone and image size; `chosen` are the rows behind each column."""

    backbone: str
    image_size: int
    columns: tuple[Column, ...]
    methods: tuple[str, ...]
    scores: dict[tuple[str, Column], Score]
    costs: dict[str, tuple[str, ...]]
    caption: str
    chosen: dict[Column, pd.DataFrame] = field(repr=False)


COSTS = ("trained", "share", "stored")


def build(frame: Frame, metric: str | None = None) -> list[Table]:
    """Return one table per backbone and image size; `metric` replaces each data set's own."""
    rows = frame.rows
    pairs = rows[["backbone", "image_size"]].drop_duplicates().itertuples(index=False)
    return [
        _table(rows[(rows["backbone"] == b) & (rows["image_size"] == s)], metric)
        for b, s in sorted(pairs)
    ]


def _table(rows: pd.DataFrame, metric: str | None) -> Table:
    done = rows[rows["state"] == "done"]
    columns = tuple(_columns(done, metric))
    chosen = [best_of(done, column) for column in columns]
    methods = tuple(rows["method"].drop_duplicates())
    scores = {
        (method, column): _score(part[part["method"] == method], rows, method, column)
        for column, part in zip(columns, chosen, strict=True)
        for method in methods
    }
    best = pd.concat(chosen) if chosen else done.assign(trials=0)
    return Table(
        backbone=str(rows["backbone"].iloc[0]),
        image_size=int(rows["image_size"].iloc[0]),
        columns=columns,
        methods=methods,
        scores=scores,
        costs={method: _costs(done[done["method"] == method]) for method in methods},
        caption=_caption(best, columns),
        chosen=dict(zip(columns, chosen, strict=True)),
    )


def _columns(done: pd.DataFrame, metric: str | None) -> list[Column]:
    columns = []
    for (dataset, fraction, shots), part in done.groupby(["dataset", "fraction", "shots"]):
        name = metric or str(part["metric"].iloc[0])
        if f"test_{name}" in part and part[f"test_{name}"].notna().any():
            labels, synthetic = int(part["labels"].iloc[0]), bool(part["synthetic"].iloc[0])
            where = str(dataset), float(fraction), name, labels, synthetic, int(shots)
            columns.append(Column(*where))
    return columns


def best_of(done: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Return the rows of a column: of each method, the seeds of its chosen trial."""
    return best_trials(column.of(done), column.metric)


def _score(best: pd.DataFrame, rows: pd.DataFrame, method: str, column: Column) -> Score:
    values = scale(column.metric) * best[f"test_{column.metric}"].dropna()
    here = column.of(rows)
    states = set(here[here["method"] == method]["state"])
    if "failed" in states:
        return Score(reason="failed")
    if len(values):
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        return Score(float(values.mean()), spread, len(values))
    return Score(reason="n/a" if "n/a" in states else "missing")


def _costs(done: pd.DataFrame) -> tuple[str, ...]:
    """Return trained values, their share of the backbone, and stored bytes against a full copy.

    Taken where the head is smallest, so that a data set with a larger head does not hide it.
    """
    if done.empty:
        return ("", "", "")
    row = done.loc[done["delta_bytes"].idxmin()]
    share = 100 * row["trainable_params"] / row["backbone_params"]
    part = 100 * row["delta_bytes"] / row["full_bytes"]
    stored = f"{row['delta_bytes'] / 2**20:.2f} MiB ({part:.1f}%)"
    return (f"{int(row['trainable_params']):,}", f"{share:.2f}%", stored)


def _caption(best: pd.DataFrame, columns: Sequence[Column]) -> str:
    if best.empty:
        return "No finished cell."
    seeds = best.groupby(["method", "dataset", "fraction", "shots"])["key"].count()
    counts = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    spread = "mean ± standard deviation over seeds" if seeds.max() > 1 else "n = 1: no spread"
    trials = best["trials"]
    tried = (
        f"{trials.min()}" if trials.min() == trials.max() else f"{trials.min()} to {trials.max()}"
    )
    steps = ", ".join(str(s) for s in sorted(best["steps"].unique()))
    identity = "; ".join(
        f"{name} {', '.join(sorted(best[column].unique()))}"
        for name, column in (("data", "data"), ("weights", "weights"))
    )
    marked = (
        " Synthetic data is no evidence about patients."
        if any(c.synthetic for c in columns)
        else ""
    )
    return (
        f"{_scaling(columns)}, {spread}; {counts} run(s) per entry. Columns name the metric, the "
        f"label fraction and the number of labels (training + validation). Checkpoint chosen on "
        f"validation; trials per entry: {tried}, chosen by: {RULE}; test read once, after the "
        f"choice. {steps} steps. Head not counted in trained. Fingerprints: {identity}.{marked}"
    )


def _scaling(columns: Sequence[Column]) -> str:
    """Return what the numbers are, and that less is better where it is."""
    text = "Test scores"
    if any(scale(c.metric) == 100 for c in columns):
        text += " x 100"
    less = dict.fromkeys(c.metric for c in columns if less_is_better(c.metric))
    return text + (f" (less is better: {', '.join(less)})" if less else "")


def ranked(table: Table, column: Column) -> tuple[set[str], set[str]]:
    """Return (best, second) methods of a column by their printed mean; ties share a place."""
    means = {
        m: round(s.mean, 1)
        for m in table.methods
        if (s := table.scores[m, column]).mean is not None
    }
    values = sorted(set(means.values()), reverse=not less_is_better(column.metric))
    places = [{m for m, v in means.items() if v == value} for value in values[:2]]
    return (places[0] if places else set(), places[1] if len(places) > 1 else set())


def short(method: str, methods: Sequence[str]) -> str:
    """Return the method's name without arguments where that is unambiguous in the table."""
    name = method.partition("(")[0]
    return name if [m.partition("(")[0] for m in methods].count(name) == 1 else method
