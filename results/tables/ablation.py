"""One axis varied, everything else equal: `report --ablation AXIS`.

An axis is a field of a cell (`lr`, `image_size`, ...) or a method's own argument (`dvpt.prompts`).
What else was tuned is chosen on validation, within each value of the axis; the test set is read for
each value, so the table informs and selects nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import pandas as pd

from benchmark.core.cell import Cell
from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import format_spec, parse_spec
from benchmark.scores import metric_of
from results.frame import Frame
from results.tables.caption import of_groups
from results.tables.columns import columns_of
from results.tables.external import averaged
from results.tables.naming import brief
from results.tables.select import SETTING, best_trials
from results.tables.sheet import BEST, ONCE, Score, Sheet

KEPT = {"dataset", "data", "method", "seed"}  # no axes: what a value would be compared on
NEUTRAL = {"fraction": 1.0, "shots": 0, "split_seed": 0}  # what would make columns of their own
VALUE = "value of the axis"


def build(frame: Frame, axis: str, metric: str | None = None) -> list[Sheet]:
    """Return a table per setting: methods and columns in rows, values of `axis` in columns.

    Raises:
        InputError: for an axis that is none, or that has one value everywhere.
    """
    rows = _valued(frame.done, axis)
    apart = [name for name in SETTING if name != axis]
    found = []
    for setting, part in rows.groupby(apart, sort=True):
        where = dict(zip(apart, setting, strict=True))
        if sheet := _sheet(part, axis, metric, where):
            found.append(sheet)
    if not found:
        raise InputError(
            f"nothing to ablate: no method has two values of {axis!r} on the same data; "
            f"found: {', '.join(map(str, sorted(set(rows[VALUE])))) or 'none'}"
        )
    return found


def _valued(done: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return the rows with the axis in a column of its own, and out of the method."""
    method, _, argument = axis.partition(".")
    if argument:
        specs = {spec: parse_spec(spec) for spec in done["method"].unique()}
        own = {s: (n, a) for s, (n, a) in specs.items() if n == method and argument in a}
        if not own:
            named = [f"{n}.{a}" for n, arguments in specs.values() for a in arguments]
            raise unknown("axis", axis, {*named, *_fields()})
        rows = done[done["method"].isin(list(own))]
        values = {spec: arguments[argument] for spec, (_, arguments) in own.items()}
        rest = {
            spec: format_spec(name, {k: v for k, v in arguments.items() if k != argument})
            for spec, (name, arguments) in own.items()
        }
        return rows.assign(
            **{VALUE: rows["method"].map(values), "method": rows["method"].map(rest)}
        )
    if axis not in _fields():
        raise unknown("axis", axis, _fields())
    neutral = {axis: NEUTRAL[axis]} if axis in NEUTRAL else {}
    return done.assign(**{VALUE: done[axis], **neutral})


def _fields() -> set[str]:
    return {field.name for field in fields(Cell)} - KEPT


def _sheet(
    rows: pd.DataFrame, axis: str, metric: str | None, where: Mapping[str, object]
) -> Sheet | None:
    # what was run with one value only has nothing to be compared with
    several = rows.groupby(["method", "dataset", "data"])[VALUE].transform("nunique") > 1
    rows = rows[several]
    if rows.empty:
        return None
    values = sorted(rows[VALUE].unique(), key=lambda v: (isinstance(v, str), v))
    heads = [f"{axis.rpartition('.')[2]} {value}" for value in values]
    methods = list(rows["method"].unique())
    lines: list[dict[str, object]] = []
    marks: dict[tuple[int, int], str] = {}
    for column in columns_of(rows, metric)[0]:
        by_value = {}
        for value in values:
            best = best_trials(column.of(rows[rows[VALUE] == value]), column.metric)
            by_value[value] = dict(list(best.groupby("method")[f"test_{column.metric}"]))
        for method in methods:
            none = Score(reason="missing")
            entries = [
                averaged(list(by_value[value][method]), column.metric)
                if method in by_value[value]
                else none
                for value in values
            ]
            known = [
                (round(e.mean, e.decimals), j) for j, e in enumerate(entries) if e.mean is not None
            ]
            if len(known) < 2:
                continue
            # the best of a row, not of a column: the axis is compared, not the methods
            top = (min if metric_of(column.metric).lower_is_better else max)(known)[0]
            for mean, j in known:
                once = ONCE if entries[j].num_seeds == 1 else ""
                marks[len(lines), j + 2] = (BEST if mean == top else "") + once
            metric = metric_of(column.metric).display
            place = f"{column.name} {metric} {'' if axis in NEUTRAL else column.share}"
            start = {"method": brief(method, methods), "data": place.strip()}
            lines.append(start | dict(zip(heads, entries, strict=True)))
    if not lines:
        return None
    title = f"Ablation of {axis} on {where.get('backbone', 'several backbones')}"
    sides = [f"{where[name]} px" for name in ("image_size",) if name in where]
    return Sheet(
        ", ".join([title, *sides]),
        pd.DataFrame(lines, columns=["method", "data", *heads]),
        "The best is that of a row.",
        _note(rows),
        marks=marks,
        keys=2,
    )


def _note(rows: pd.DataFrame) -> str:
    data = rows[["dataset", "data"]].drop_duplicates().itertuples(index=False)
    return (
        "Test scores (x 100 for shares), mean ± standard deviation over runs; everything else "
        "equal, what else was tuned chosen on validation within each value. The test set is read "
        "for each value: this table informs, it selects nothing. Fingerprints: data "
        f"{', '.join(f'{name} {value}' for name, value in data)}; weights "
        f"{', '.join(sorted(rows['weights'].unique()))}. {of_groups(rows)}"
    ).strip()
