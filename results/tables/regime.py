"""What the records of an entry say against it: trained too short, chosen on too little.

Each check answers with a sentence for the caption of a table, "" where there is nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from benchmark.core.spec import base_name
from benchmark.scores import metric_of
from results.frame.rows import TRIED
from results.tables.columns import Column
from results.tables.sheet import RISING

SHOWN = 5  # entries of a sentence
COARSE = 0.05  # standard error of a validation score above which a choice on it is mostly luck
RATES = ("lr", "head_lr")
Chosen = Mapping[Column, pd.DataFrame]  # the rows behind each column, of all methods


def is_rising(runs: pd.DataFrame) -> bool:
    """Return whether more training would probably have raised the entry of these runs.

    Until converged: most runs ended at the largest number of steps. With equal steps: the chosen
    step is the last in most runs, or what validation gained in the last quarter of training exceeds
    its standard error. That is over runs or, of a single one, of a share among its validation
    images. False where nothing was trained in steps, or nothing is known of them.
    """
    runs = runs[runs["last_step"] > 0]
    if runs.empty:
        return False
    until_converged = runs["patience"] > 0
    at_most = runs["last_step"] >= runs["steps"]
    too_short = (until_converged & at_most) | (
        ~until_converged & (runs["selected_step"] == runs["last_step"])
    )
    if too_short.mean() > 0.5:
        return True
    # until converged the end gains by design: the rate falls there
    gains = runs["late_gain"][~until_converged].dropna()
    if gains.empty:
        return False
    noise = gains.std() / math.sqrt(len(gains)) if len(gains) > 1 else _error(runs.loc[gains.index])
    return bool(gains.mean() > noise)


def _error(runs: pd.DataFrame) -> float:
    """Return the largest standard error of a validation score of these runs, as a fraction.

    sqrt(p (1 - p) / n) of a share p of n independent images; infinite where the score is no share.
    """
    errors = [math.nan]
    for run in runs.to_dict("records"):
        value, images = run.get(f"val_{run['metric']}"), run["num_val"]
        if not metric_of(run["metric"]).is_share or not images or value is None or value != value:
            return math.inf
        share = min(max(float(value), 0.0), 1.0)
        errors.append(math.sqrt(share * (1 - share) / images))
    return max(errors[1:], default=math.inf)


def rising(chosen: Chosen) -> dict[Column, set[str]]:
    """Return the methods of each column whose validation still rose when training ended."""
    return {
        column: {str(name) for name, runs in rows.groupby("method") if is_rising(runs)}
        for column, rows in chosen.items()
    }


def told_rising(found: Mapping[Column, Collection[str]], entries: int) -> str:
    """Return how many of the `entries` of a table still rise, and the first of them."""
    named = [f"{base_name(m)} on {c.name} {c.share}" for c in found for m in sorted(found[c])]
    if not named:
        return ""
    return (
        f"Still rising ({RISING}) when training ended, and better with more of it: {len(named)} of "
        f"{entries} entries ({_first(named)})."
    )


def told_choice(chosen: Chosen) -> str:
    """Return how far scores on validation are from certain, where that is too far to choose by."""
    named: dict[str, tuple[int, float]] = {}
    for column, rows in chosen.items():
        rows = rows[(rows["num_val"] > 0) & (rows["task"] == "classification")]
        error = _error(rows) if len(rows) else math.inf
        if COARSE < error < math.inf:
            named[f"{column.name} {column.share}"] = (int(rows["num_val"].min()), 100 * error)
    if not named:
        return ""
    parts = [
        f"{name}: {count} images, {error:.0f} points" for name, (count, error) in named.items()
    ]
    return f"Small validation sets, and the standard error of a score on them: {_first(parts)}."


def told_edges(chosen: Chosen, done: pd.DataFrame) -> str:
    """Return the entries whose rate is the lowest or highest of at least `TRIED` in all trials."""
    named = []
    for column, rows in chosen.items():
        every = column.of(done)
        for method, runs in rows.groupby("method"):
            where = f"{base_name(str(method))} on {column.name} {column.share}"
            edge = runs["earlier_edge"].iloc[0]
            if isinstance(edge, str) and edge:  # scores of others know none
                named.append(f"{where} lr {runs['lr'].iloc[0]:g}, {edge}")
            for name in RATES:
                tried = sorted(every[every["method"] == method][name].unique())
                rate = runs[name].iloc[0]
                if len(tried) >= TRIED and rate in (tried[0], tried[-1]):
                    end = "lowest" if rate == tried[0] else "highest"
                    named.append(f"{where} {name} {rate:g}, the {end} of {len(tried)}")
    return f"Chosen at the edge of what was tried: {_first(named)}." if named else ""


def told_tokens(chosen: Chosen) -> str:
    """Return the methods that insert more tokens than the image has, where attention drowns."""
    named = dict.fromkeys(
        f"{base_name(str(row['method']))} {row['inserted_tokens']:.0f} beside "
        f"{row['image_tokens']:.0f}"
        for row in _records(chosen)
        if 0 < row["image_tokens"] < row["inserted_tokens"]
    )
    return f"More inserted tokens than image tokens: {_first(list(named))}." if named else ""


def _records(chosen: Chosen) -> Iterator[dict[str, float]]:
    names = ["method", "image_tokens", "inserted_tokens"]
    for rows in chosen.values():
        yield from rows[names].drop_duplicates().to_dict("records")


def _first(named: list[str]) -> str:
    more = f"; {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return "; ".join(named[:SHOWN]) + more
