"""The table of a paper: which methods, data and metrics, in which order, under which names.

`read` takes a TOML file whose keys are the fields of `Design`; `build` makes one sheet of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.files import read_toml
from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import parse_spec
from benchmark.scores import metric_of
from results import tables
from results.frame import Frame
from results.statistics import stats
from results.tables import Column, Table, marks
from results.tables.latex import LAYOUTS
from results.tables.naming import displayed
from results.tables.sheet import BEST, Form, Score, Sheet

LEVELS = ("backbone", "dataset", "metric", "fraction", "labels")
COSTS = {
    "trained": ("Trained (M)", lambda costs: costs.trained / 1e6, "{:.2f}"),
    "share": ("Trained (%)", lambda costs: costs.share, "{:.2f}"),
    "stored": ("Stored (MiB)", lambda costs: costs.stored_mib, "{:.2f}"),
}
OTHERS = "Others"  # the group of methods that are in none
# Families in the order in which papers print them; any others come behind, as they appear.
FAMILIES = ("Reference", "Selective", "Prompts", "Adapters", "Low-rank")
Display = Callable[[str, str], str]


@dataclass(frozen=True)
class Design:
    """What the table shows. An empty list is everything that the records have.

    `methods` are names, or names with arguments that pick settings ("lora(rank=8)"); `fractions`
    are numbers or "5-shot"; `metrics` replace each data set's own. The order of a list is that of
    the table. `names` gives display names by the names of methods, data sets, backbones and
    metrics. `group` is "family", "none", or comes from `groups`, a title to a list of methods.
    `header` are the levels of the header, from the outermost; what it leaves out must be the same
    everywhere. `unit` is "percent" or "fraction", of metrics that are shares. `digits` replaces
    those of the metrics. `costs` are columns of `COSTS`. `average` adds the mean over all columns.
    `layout` is a width of `results.tables.latex.LAYOUTS`.
    """

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    fractions: tuple[float | str, ...] = ()
    backbones: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    image_size: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    group: str = "family"
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    transpose: bool = False
    unit: str = "percent"
    digits: int = -1
    deviation: bool = True
    marks: bool = True
    costs: tuple[str, ...] = ()
    average: bool = False
    layout: str = "article"
    caption: str = ""
    label: str = ""


def read(path: Path, changes: Sequence[str] = ()) -> Design:
    """Return the design of a TOML file, with `changes` such as "digits=2" in place of its values.

    Raises:
        InputError: for a file that cannot be read, an unknown key, or a value of the wrong type.
    """
    values = read_toml(path)
    changed_keys = set()
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise InputError(f"{change!r} is not KEY=VALUE, such as digits=2")
        if key.strip() in changed_keys:
            raise InputError(f"{key.strip()!r} is given two values; leave one out")
        changed_keys.add(key.strip())
        try:
            changed = tomllib.loads(f"{key.strip()} = {value}")
        except (ValueError, RecursionError):
            changed = {key.strip(): value.strip()}  # a bare word is a text
        for name, new in changed.items():  # names.lora = "LoRA" keeps the other names
            old = values.get(name)
            values[name] = old | new if isinstance(old, dict) and isinstance(new, dict) else new
    return designed(values, str(path))


def designed(values: Mapping[str, Any], source: str = "the design") -> Design:
    """Return the design of plain values, checked.

    Raises:
        InputError: for an unknown key, a value of the wrong type, or one that is not allowed.
    """
    known = {f.name: getattr(Design(), f.name) for f in fields(Design)}
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise unknown(f"key of {source}", key, known)
        default = known[key]
        wanted = {
            "fractions": (list, "a list of numbers between 0 and 1, or texts such as '5-shot'"),
            "names": (dict, "a table of texts"),
            "groups": (dict, "a table of lists of methods"),
        }.get(key)
        if wanted is None and isinstance(default, tuple):
            wanted = (list, "a list of texts")
        kind, told = wanted or (
            type(default),
            {bool: "true or false", int: "a whole number"}.get(type(default), "a text"),
        )
        items = (
            value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        )
        allowed: tuple[type, ...] = (str,)
        if key == "fractions":
            allowed = (str, float, int)
        elif key == "groups":
            allowed = (list,)
        right = type(value) is kind and all(
            isinstance(item, allowed) and not isinstance(item, bool) for item in items
        )
        if key == "groups" and right:
            right = all(isinstance(name, str) for item in items for name in item)
        if not right:
            raise InputError(f"{key} of {source} is {value!r}; it is {told}")
        if isinstance(value, list) and (twice := [v for v in value if value.count(v) > 1]):
            raise InputError(f"{key} of {source} has {twice[0]!r} twice; leave one out")
        checked[key] = tuple(value) if isinstance(value, list) else value
    choices = {
        "group": ("family", "none"),
        "unit": ("percent", "fraction"),
        "layout": tuple(LAYOUTS),
        "header": LEVELS,
        "costs": tuple(COSTS),
    }
    for key, allowed_values in choices.items():
        given = checked.get(key, ())
        for name in (given,) if isinstance(given, str) else given:
            if name not in allowed_values:
                raise unknown(f"{key} of {source}", str(name), allowed_values)
    _check_names(checked, source)
    if not -1 <= checked.get("digits", -1) <= 6:
        raise InputError(f"digits of {source} is {checked['digits']}; it is a number from 0 to 6")
    return Design(**checked)


def _check_names(checked: Mapping[str, Any], source: str) -> None:
    """Raise InputError for names and groups that would lose one, or a label that LaTeX refuses."""
    if empty := [name for name, text in checked.get("names", {}).items() if not text.strip()]:
        raise InputError(f"names of {source} has nothing for {empty[0]!r}; leave it out")
    if checked.get("groups") and checked.get("group") == "none":
        raise InputError(f'{source} has groups, and group = "none"; leave one out')
    grouped = [name for names in checked.get("groups", {}).values() for name in names]
    if twice := [name for name in grouped if grouped.count(name) > 1]:
        raise InputError(f"groups of {source} has {twice[0]!r} twice; leave one out")
    if wrong := set(checked.get("label", "")) & set("{}\\%#~$&^"):
        raise InputError(f"label of {source} holds {min(wrong)!r}, which LaTeX does not take there")


@dataclass(frozen=True)
class _Place:
    """One column of scores: its table, and its headings by level."""

    table: Table
    column: Column
    heads: Mapping[str, str]


def build(
    loaded: Frame,
    runs: Sequence[Path],
    design: Design,
    display: Display = lambda kind, name: "",
    family: Callable[[str], str] = lambda method: "",
) -> Sheet:
    """Return the table of a paper from records.

    `display` answers with the display name of a ("method", "data" or "backbone", name), or with
    nothing; `family` with the family of a method. What is best, and what ties with it, is judged
    among the methods of this table.

    Raises:
        InputError: for a name that no record has, columns of one heading, or levels of the header
            that differ and are not shown.
    """
    every = list(dict.fromkeys(loaded.rows["method"]))
    methods = _chosen(design.methods, every)
    groups = _grouped(methods, design, family)
    methods = [method for _, members in groups for method in members]
    names = displayed(methods, _names(methods, design, display))
    called = [(design.names[m], m) for m in methods if m in design.names]
    for title, method in called:
        if other := [m for name, m in called if name == title and m != method]:
            raise InputError(f"names calls {method} and {other[0]} both {title!r}; change one")
    places = _places(loaded, runs, design, methods, display)
    levels = design.header or tuple(
        level
        for level in LEVELS[:4]
        if level == "dataset" or len({p.heads[level] for p in places}) > 1 or level == "metric"
    )
    heads = [tuple(p.heads[level] for level in levels) for p in places]
    for i, head in enumerate(heads):
        if head in heads[:i]:
            one, two = places[heads.index(head)], places[i]
            differ = [level for level in LEVELS if one.heads[level] != two.heads[level]]
            hint = (
                f"add {differ[0]!r} to header" if differ else "choose an image_size or a backbone"
            )
            raise InputError(f"two columns would both be {', '.join(head)!r}; {hint}")
    scale = [
        0.01 if design.unit == "fraction" and metric_of(p.column.metric).is_share else 1.0
        for p in places
    ]
    # a fraction takes two digits more to say as much as a percentage
    digits = [
        design.digits if design.digits >= 0 else metric_of(p.column.metric).decimals + 2 * (s < 1)
        for p, s in zip(places, scale, strict=True)
    ]
    scores = {
        (m, j): _scaled(p.table.scores.get((m, p.column), Score(reason="missing")), s, d)
        for j, (p, s, d) in enumerate(zip(places, scale, digits, strict=True))
        for m in methods
    }
    marked = {
        (m, j): mark
        for j, p in enumerate(places)
        for m, mark in marks(p.table, p.column, digits[j] - 2 * (scale[j] < 1)).items()
        if design.marks and mark
    }
    extra: list[tuple[str, list[Any], str]] = []
    best: set[int] = set()  # places of the methods whose average is marked
    if design.average:
        values, form = _average(methods, places, scores)
        extra.append(("Average", values, form))
        best = _best(values, form, places, scores, methods) if design.marks else set()
    for name in design.costs:
        heading, value, form = COSTS[name]
        if len({p.table.name for p in places}) > 1:
            raise InputError("costs are those of one backbone; choose one, or leave costs out")
        extra.append((heading, [value(places[0].table.costs[m]) for m in methods], form))
    return _sheet(design, methods, groups, names, heads, scores, marked, extra, best, places)


def _chosen(wanted: Sequence[str], every: Sequence[str]) -> list[str]:
    """Return the methods that a list names, in its order; all where it is empty."""
    if not wanted:
        return list(every)
    # "lora" picks all settings of it, "lora(rank=8)" those with that value and any others
    found: list[str] = []
    specs = {m: parse_spec(m) for m in every}
    for text in wanted:
        base, arguments = parse_spec(text)
        fitting = [
            m
            for m, (name, own) in specs.items()
            if m == text or (name == base and arguments.items() <= own.items())
        ]
        if not fitting:
            raise unknown("method in these records", text, {name for name, _ in specs.values()})
        found += [m for m in fitting if m not in found]
    return found


def _grouped(
    methods: Sequence[str], design: Design, family: Callable[[str], str]
) -> list[tuple[str, list[str]]]:
    """Return (title, methods) of each group, in the order of their first methods."""
    if design.groups:
        groups = [
            (t, [m for n in names for m in _chosen([n], methods)])
            for t, names in design.groups.items()
        ]
        # nothing is dropped because no group names it
        rest = [m for m in methods if all(m not in members for _, members in groups)]
        return [*groups, (OTHERS, rest)] if rest else groups
    if design.group == "none":
        return [("", list(methods))]
    by_family: dict[str, list[str]] = {}
    for method in methods:
        by_family.setdefault(family(method.partition("(")[0]) or OTHERS, []).append(method)
    known = [name for name in FAMILIES if name in by_family]
    return [(name, by_family[name]) for name in dict.fromkeys([*known, *by_family])]


def _names(methods: Sequence[str], design: Design, display: Display) -> dict[str, str]:
    bases = dict.fromkeys(m.partition("(")[0] for m in methods)
    return {b: name for b in bases if (name := display("method", b))} | dict(design.names)


def _places(
    loaded: Frame, runs: Sequence[Path], design: Design, methods: Sequence[str], display: Display
) -> list[_Place]:
    """Return the columns of scores that the design asks for, in its order."""
    rows = loaded.rows
    scored = [n.removeprefix("test_") for n in rows.columns if n.startswith("test_")]
    for kind, wanted, known in (
        ("metric", design.metrics, scored),
        ("backbone in these records", design.backbones, rows["backbone"]),
        ("data set in these records", design.datasets, rows["dataset"]),
    ):
        for name in wanted:
            if name not in set(known):
                raise unknown(kind, name, set(known))
    # the protocol, and what is best, are those of the cells that the table shows
    kept = rows["method"].isin(list(methods))
    for name, values in (("backbone", design.backbones), ("dataset", design.datasets)):
        kept &= rows[name].isin(list(values)) | (not values)
    if design.image_size:
        kept &= rows["image_size"] == design.image_size
    # a method that is left out must not be the best that others are compared with
    shown_rows = replace(loaded, rows=rows[kept].reset_index(drop=True))
    built = [
        replace(table, methods=tuple(m for m in methods if m in table.methods))
        for metric in design.metrics or (None,)
        for table in (tables.build(shown_rows, metric) if kept.any() else ())
    ]
    shares = [_share(fraction) for fraction in design.fractions]
    there = {c.share for table in built for c in table.columns}
    for share in shares:
        if share not in there:
            raise unknown("fraction in these records", share, there)
    judged = [tables.with_ties(s.table, s.tied) for s in stats.build(built, runs)]

    def place(given: Sequence[str], name: str) -> int:
        return given.index(name) if given else 0

    def shown(kind: str, name: str) -> str:
        return design.names.get(name) or display(kind, name) or name

    found: list[tuple[tuple[int, ...], int, _Place]] = []
    for table in judged:
        for column in table.columns:
            if shares and column.share not in shares:
                continue
            metric_name = design.names.get(column.metric) or metric_of(column.metric).display
            heads = {
                "backbone": shown("backbone", table.backbone),
                "dataset": shown("data", column.dataset)
                + (f" {column.note}" if column.note else "")
                + " (synthetic)" * column.synthetic,
                "metric": metric_name,
                "fraction": column.share,
                "labels": str(column.labels),
            }
            key = (
                place(design.backbones, table.backbone),
                place(design.datasets, column.dataset),
                place(design.metrics, column.metric),
                place(shares, column.share),
            )
            found.append((key, len(found), _Place(table, column, heads)))
    if not found:
        raise InputError("no column of these records is of this design")
    return [made for _, _, made in sorted(found, key=lambda item: item[:2])]


def _share(fraction: float | str) -> str:
    return fraction if isinstance(fraction, str) else f"{100 * fraction:g}%"


def _scaled(score: Score, scale: float, digits: int) -> Score:
    if score.mean is None:
        return score
    spread = None if score.spread is None else scale * score.spread
    return replace(score, mean=scale * score.mean, spread=spread, decimals=digits)


def _average(
    methods: Sequence[str], places: Sequence[_Place], scores: Mapping[tuple[str, int], Score]
) -> tuple[list[float | None], str]:
    """Return the mean over all columns of each method that has them all, and how it is written."""
    kinds = {(metric_of(p.column.metric).unit, metric_of(p.column.metric).sign) for p in places}
    if len(kinds) > 1:
        raise InputError("average is over metrics of one unit and direction; leave it out")
    means = [[scores[m, j].mean for j in range(len(places))] for m in methods]
    digits = max(score.decimals for score in scores.values())
    # of methods with every column: a mean over what there is would reward gaps
    values = [
        sum(v for v in row if v is not None) / len(row) if None not in row else None
        for row in means
    ]
    return values, f"{{:.{digits}f}}"


def _best(
    values: Sequence[float | None],
    form: str,
    places: Sequence[_Place],
    scores: Mapping[tuple[str, int], Score],
    methods: Sequence[str],
) -> set[int]:
    """Return the places of the best average as printed; as in a column, not of single runs."""
    sign = metric_of(places[0].column.metric).sign
    printed = {i: sign * float(form.format(v)) for i, v in enumerate(values) if v is not None}
    fewest = {i: min(scores[methods[i], j].num_seeds for j in range(len(places))) for i in printed}
    # where any method has several runs in every column, those with a single one are never the best
    kept = {i: v for i, v in printed.items() if fewest[i] > 1} or printed
    return {i for i, value in kept.items() if value == max(kept.values())}


def _sheet(
    design: Design,
    methods: Sequence[str],
    groups: Sequence[tuple[str, Sequence[str]]],
    names: Mapping[str, str],
    heads: Sequence[tuple[str, ...]],
    scores: Mapping[tuple[str, int], Score],
    marked: Mapping[tuple[str, int], str],
    extra: Sequence[tuple[str, Sequence[Any], str]],
    best: Collection[int],
    places: Sequence[_Place],
) -> Sheet:
    """Return the sheet: methods in rows, or transposed in columns."""
    form: Form = lambda score: score.text(spread=design.deviation)  # noqa: E731
    title = design.caption or _caption(heads, places)
    spread = any(s.spread is not None for s in scores.values()) and design.deviation
    caption = "Mean and standard deviation over runs." if spread else ""
    note = " ".join(dict.fromkeys(p.table.caption for p in places))
    blank = ("",) * (len(heads[0]) - 1)
    titled = [(t, m) for t, m in groups if m]
    if not design.transpose:
        data: dict[Any, list[Any]] = {(*blank, "Method"): [names[m] for m in methods]}
        forms: dict[Any, Form] = {}
        for j, head in enumerate(heads):
            data[head] = [scores[m, j] for m in methods]
            forms[head] = form
        for heading, values, text in extra:
            data[*blank, heading] = list(values)
            forms[*blank, heading] = text.format
        spots = {(methods.index(m), j + 1): mark for (m, j), mark in marked.items()}
        spots |= {(i, len(heads) + 1): BEST for i in best}
        starts = [(t if len(titled) > 1 else "", methods.index(m[0])) for t, m in titled]
        frame = pd.DataFrame(data)
        return Sheet(title, frame, caption, note, forms, spots, starts, design.label)
    by_title = {m: title for title, members in groups for m in members}
    level = len(titled) > 1
    data = {("",) * level + ("",): [h[-1] for h in heads] + [e[0] for e in extra]}
    forms = {}
    texts = [text.format for _, _, text in extra]
    for i, method in enumerate(methods):
        column = ((by_title[method],) if level else ()) + (names[method],)
        values = [scores[method, j] for j in range(len(heads))]
        # numbers of other kinds are rows here, so each is written before the sheet sees it
        data[column] = [
            *values,
            *(_Written(v[i], f) for (_, v, _), f in zip(extra, texts, strict=True)),
        ]
        forms[column] = lambda v: form(v) if isinstance(v, Score) else str(v)
    spots = {(j, 1 + methods.index(m)): mark for (m, j), mark in marked.items()}
    spots |= {(len(heads), 1 + i): BEST for i in best}
    starts = []
    if len(heads[0]) > 1:
        firsts = [", ".join(h[:-1]) for h in heads]
        starts = [(first, firsts.index(first)) for first in dict.fromkeys(firsts)]
    starts += [("", len(heads))] if extra else []
    return Sheet(title, pd.DataFrame(data), caption, note, forms, spots, starts, design.label)


class _Written(float):
    """A number that is written in its own way."""

    form: Callable[[Any], str]

    def __new__(cls, value: float | None, form: Callable[[Any], str]) -> _Written:
        made = super().__new__(cls, float("nan") if value is None else value)
        made.form = form
        return made

    def __str__(self) -> str:
        return self.form(float(self))


def _caption(heads: Sequence[tuple[str, ...]], places: Sequence[_Place]) -> str:
    """Return what the table shows, in one line."""
    metrics = list(dict.fromkeys(p.heads["metric"] for p in places))
    backbones = list(dict.fromkeys(p.heads["backbone"] for p in places))
    shares = list(dict.fromkeys(p.heads["fraction"] for p in places))
    used = f" with {shares[0]} of the labels" if len(shares) == 1 and "%" in shares[0] else ""
    first = ", ".join(metrics)
    return f"{first[:1].upper()}{first[1:]} of {', '.join(backbones)}{used}"
