"""What stands under a table: its protocol, what is unequal in it, what is missing from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmark.core.spec import base_name
from benchmark.scores import metric_of
from results.tables.columns import DIGITS, Column
from results.tables.select import RULE, SETTING
from results.tables.sheet import Score

SHOWN = 5  # of the entries that are missing, and of the methods of one number
_UNEQUAL = (("runs", "not equally repeated"), ("trials", "not equally tuned"))
_USED = [
    *("dataset", "data", "weights", "precision", "normalize", "split_seed"),
    *("steps", "patience", "steps_done", "subset", "earlier_where"),
]
Chosen = Mapping[Column, pd.DataFrame]  # the rows behind each column, of all methods
Empty = Mapping[tuple[str, Column], str]  # why entries have no number


def caption(chosen: Chosen, empty: Empty, lacking: Sequence[str]) -> str:
    """Return the protocol of a table from the rows behind its entries."""
    columns = list(chosen)
    counts = _counts(chosen, empty)
    if counts.empty:
        return " ".join(["No finished cell.", *lacking])
    if all(part["train_s"].isna().all() for part in chosen.values()):
        return _of_others(chosen, counts, lacking)
    rows = pd.concat(part[_USED] for part in chosen.values())
    runs, trials = (_equal(counts, *told) for told in _UNEQUAL)
    parts = [
        f"{_scaling(columns)}, {_spread(rows, counts['runs'].max())}; runs per entry: {runs}.",
        "Columns name the metric, the label fraction and the number of labels (training + "
        "validation). Checkpoint chosen on validation; trials per entry: "
        f"{trials}, chosen by: {RULE}; test read once, after the choice.",
        *_earlier(rows),
        *_first_files(rows),
        f"{_length(rows)} Head not counted in trained. Fingerprints: {_identity(rows)}.",
        *_apart(columns),
        *_by_loss(chosen),
        *lacking,
    ]
    if any(column.synthetic for column in columns):
        parts.append("Synthetic data is no evidence about patients.")
    return " ".join(parts)


def _length(rows: pd.DataFrame) -> str:
    """Return how long was trained: the steps of all, or until when and how many it took."""
    steps = ", ".join(str(s) for s in sorted(rows["steps"].unique()))
    (patience,) = rows["patience"].unique()  # a setting: one in all of a table
    if not patience:
        return f"{steps} steps."
    done = rows["steps_done"][rows["steps_done"] > 0]
    span = " to ".join(dict.fromkeys(f"{steps:.0f}" for steps in (done.min(), done.max())))
    took = f"; {span} were done" if len(done) else ""
    return (
        f"Trained until converged: until {patience} evaluations in a row were no better, then a "
        f"decay of the rate, at most {steps} steps{took}."
    )


def _earlier(rows: pd.DataFrame) -> list[str]:
    """Return a sentence where rates were chosen by trials of other records (`--tuned-from`)."""
    where = [text for text in rows["earlier_where"].dropna().unique() if text]
    return [f"Rates were chosen by earlier trials, on {'; '.join(where)}."] if where else []


def _first_files(rows: pd.DataFrame) -> list[str]:
    """Return a sentence where the labels are not those that this benchmark would draw."""
    taken = (rows["subset"] == "first").all()
    return ["Labels: the first files of each class, neither drawn nor grouped."] if taken else []


def _of_others(chosen: Chosen, counts: pd.DataFrame, lacking: Sequence[str]) -> str:
    """Return the caption of scores of others: nothing is known of their protocol."""
    files = sorted({Path(file).name for part in chosen.values() for file in part["folder"]})
    parts = [
        f"{_scaling(list(chosen))}, {_spread(pd.concat(chosen.values()), counts['runs'].max())}; "
        f"runs per entry: {_equal(counts, *_UNEQUAL[0])}.",
        f"Scores as given in {', '.join(files)}; how they were made is not known here.",
        *lacking,
    ]
    return " ".join(parts)


def _scaling(columns: Sequence[Column]) -> str:
    """Return what the numbers are, and that less is better where it is."""
    text = "Test scores"
    if any(metric_of(c.metric).is_share for c in columns):
        text += " x 100"
    less = dict.fromkeys(c.metric for c in columns if metric_of(c.metric).lower_is_better)
    return text + (f" (less is better: {', '.join(less)})" if less else "")


def _spread(rows: pd.DataFrame, most: int) -> str:
    if most < 2:
        return "n = 1: no spread"
    num_splits = rows["split_seed"].nunique()
    over = "seeds" if num_splits == 1 else f"seeds and {num_splits} splits"
    return f"mean ± standard deviation over {over}"


def _counts(chosen: Chosen, empty: Empty) -> pd.DataFrame:
    """Return method, column, runs and trials of every entry with a number.

    Trials of other records count as well: a table of one setting each may hide that one method was
    tuned longer than another. The setting that they chose is one of them.
    """
    parts = []
    for column, rows in chosen.items():
        earlier = (rows["earlier_trials"].fillna(0) - 1).clip(lower=0).astype(int)
        part = (
            rows.assign(trials=rows["trials"] + earlier)
            .groupby("method", as_index=False)
            # a run whose score is undefined is in no mean
            .agg(runs=(f"test_{column.metric}", "count"), trials=("trials", "max"))
        )
        kept = [(method, column) not in empty for method in part["method"]]
        parts.append(part[kept].assign(column=column.name + " " + column.share))
    return pd.concat(parts) if parts else pd.DataFrame()


def _equal(counts: pd.DataFrame, name: str, blame: str) -> str:
    """Return the one number of all entries, or the numbers of each method and the blame."""
    if len(set(counts[name])) == 1:
        return str(counts[name].iloc[0])
    if counts.groupby("column")[name].agg(lambda found: len(set(found))).max() == 1:
        return f"{counts[name].min()} to {counts[name].max()}, within a column the same"
    # methods are named by their numbers: a list of every entry would be longer than the table
    spans = counts.groupby("method", sort=False)[name].agg(["min", "max"])
    by_number: dict[str, list[str]] = {}
    for method, low, high in spans.itertuples(name=None):
        text = str(low) if low == high else f"{low} to {high}"
        by_number.setdefault(text, []).append(base_name(str(method)))
    parts = (f"{_first(methods)} {number}" for number, methods in by_number.items())
    return f"{'; '.join(parts)} ({blame})"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _identity(rows: pd.DataFrame) -> str:
    data = rows[["dataset", "data"]].drop_duplicates().sort_values(["dataset", "data"])
    names = ", ".join(f"{name} {found}" for name, found in data.itertuples(index=False))
    same = {name: str(rows[name].iloc[0]) for name in ("weights", "precision", "normalize")}
    return (
        f"data {names}; weights {same['weights']}; {same['precision']}, normalized by "
        f"{same['normalize']}"
    )


def _apart(columns: Sequence[Column]) -> list[str]:
    """Return a sentence per reason for which columns of one data set stand apart."""
    prints = {c.dataset for c in columns if c.note.startswith(c.data[:DIGITS] or "-")}
    splits = {c.dataset for c in columns if c.split is not None}
    parts = []
    if prints:
        parts.append(
            f"Of {', '.join(sorted(prints))} there are several versions with other images or "
            "labels, in columns of their own."
        )
    if splits:
        parts.append(
            f"On {', '.join(sorted(splits))} the methods were not run on the same splits: a column "
            "for each split seed."
        )
    return parts


def _by_loss(chosen: Chosen) -> list[str]:
    """Return a sentence for the columns whose score on validation is undefined in some run."""
    names = [
        f"{column.name} {column.share}"
        for column, rows in chosen.items()
        if f"val_{column.metric}" in rows and rows[f"val_{column.metric}"].isna().any()
    ]
    where = ", ".join(dict.fromkeys(names))
    return [f"Undefined on validation, where the loss chose instead: {where}."] if names else []


def of_groups(rows: pd.DataFrame) -> str:
    """Return what a reader must know of the groups of the data sets in `rows`; "" for nothing.

    A test set that may share patients with training makes every score of a table look better than
    it is. Records of before it was noted say nothing.
    """
    notes = rows.sort_values("dataset")["group_note"]
    return " ".join(note for note in dict.fromkeys(notes.dropna()) if note)


def missing(chosen: Chosen, methods: Sequence[str], empty: Empty) -> str:
    """Return a sentence that names the entries without all runs of their column; "" for none."""
    named = []
    for column, rows in chosen.items():
        # complete is what the best-run method of the column has, whatever was planned
        wanted = len(rows[["split_seed", "seed"]].drop_duplicates())
        scored = rows[f"test_{column.metric}"].notna()
        sizes = rows["method"][scored].value_counts()
        for method in methods:
            name = f"{method.partition('(')[0]} on {column.name} {column.share}"
            if empty.get((method, column)) == "missing":
                named.append(name)
            elif (method, column) not in empty and sizes[method] < wanted:
                named.append(f"{name} ({sizes[method]} of {wanted} runs)")
    return f"Missing: {_first(named)}." if named else ""


def chance(levels: Mapping[Column, float], scores: Mapping[tuple[str, Column], Score]) -> str:
    """Return a sentence with the levels of chance where some score is not above it; else ""."""
    named = []
    for column, level in levels.items():
        metric = metric_of(column.metric)
        means = [s.mean for (_, c), s in scores.items() if c == column and s.mean is not None]
        if any(metric.sign * mean <= metric.sign * level for mean in means):
            named.append(f"{column.name} {metric.display} {level:.{metric.decimals}f}")
    listed = ", ".join(dict.fromkeys(named))
    return f"Without a look at the image, one answer for all: {listed}." if named else ""


_NOTED = (
    ("patience", "{}"),
    ("subset", "{} labels"),
    ("weights", "weights {}"),
    ("precision", "{}"),
    ("normalize", "norm {}"),
)


def notes(settings: Iterable[Mapping[str, object]]) -> list[str]:
    """Return for each table's setting what tells it from others of its backbone and size.

    A fingerprint is cut to its first digits; "" where there is nothing to tell.
    """
    rows = pd.DataFrame(list(settings), columns=list(SETTING))
    rows = rows.fillna({"patience": 0})
    rows["patience"] = rows["patience"].map(
        lambda p: f"until converged ({p})" if p else "equal steps"
    )
    same = rows.groupby(["backbone", "image_size"])
    found = [""] * len(rows)
    for name, form in _NOTED:
        several = same[name].transform("nunique") > 1
        for i in rows.index[several]:
            value = str(rows[name][i])
            text = form.format(value[:DIGITS] if name == "weights" else value)
            found[i] = f"{found[i]}, {text}" if found[i] else text
    return found
