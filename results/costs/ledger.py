"""What a method costs beside what it scores: one row per method, and the published combined scores.

Percentages are of the backbone that the ledger names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from scipy.stats import spearmanr

from benchmark.core.files import read_json
from benchmark.core.numbers import Number
from benchmark.core.registry import InputError
from benchmark.core.typed import typed
from benchmark.scores import metric_of
from results.costs.pareto import pareto
from results.frame import Frame
from results.statistics.summary import comparable
from results.tables import Table, place
from results.tables.naming import brief
from results.tables.sheet import Sheet

CPU = "cpu"
LATENCY = "latency.json"


def ppt(score: float, trained: float) -> float:
    """Return score * exp(-log10(P / 1e7 + 1)) for P trained values.

    Performance-parameter trade-off of V-PETL Bench (Xin et al. 2024), as its printed scores say.
    """
    return score * math.exp(-math.log10(trained / 1e7 + 1))


def ppe(score: float, share: float) -> float:
    """Return score * exp(-log10(r + 1)); r is trained values over those of full fine-tuning.

    Huang et al. 2024 (FPT+, arXiv 2408.02426), performance-parameter efficiency. The same with
    peak memory over that of full fine-tuning is the performance-memory efficiency, PME.
    """
    return score * math.exp(-math.log10(share + 1))


@dataclass(frozen=True)
class Entry:
    """Costs of one method; means over its chosen cells where nothing else is said.

    `trained` (without head) and `share` (percent of the backbone); `active` are the values that
    inference uses, unmerged; `stored` MiB of the delta with the smallest head; `gflop` of training
    on one image; `seconds` of training one cell, and `searched` with all trials that it was chosen
    from. Times are None where cells shared a GPU with other processes: `images_per_s` and `seconds`
    leave them out, and `searched` would lack trials. `peak` MiB of training, None on a CPU, where
    it is the whole process's. `score` is the mean over the table's columns, None where one is empty
    or they have several units or directions; `best` marks the Pareto front of score against trained
    values. The combined scores are None where their parts are.
    """

    method: str
    trained: int
    share: float
    active: int
    stored: float
    gflop: float
    images_per_s: float | None
    seconds: float | None
    searched: float | None
    peak: float | None = None
    score: float | None = None
    ppt: float | None = None
    ppe: float | None = None
    pme: float | None = None
    best: bool = False
    latency: float | None = None
    merged: float | None = None


@dataclass(frozen=True)
class Ledger:
    """The entries of one table in its order of methods; `devices` are what they were trained on."""

    backbone: str
    image_size: int
    entries: tuple[Entry, ...]
    devices: tuple[str, ...]
    num_shared: int = 0  # cells, trials as well, that shared a GPU with other processes
    groups: str = ""  # what its scores have to say of the data's groups (`Table.groups`)

    def agreement(self, name: str) -> float | None:
        """Return Spearman's correlation of a combined score with the score.

        None under 3 methods or where all are equal.
        """
        pairs = [(e.score, getattr(e, name)) for e in self.entries]
        known = [pair for pair in pairs if None not in pair]
        if len(known) < 3 or any(len(set(values)) == 1 for values in zip(*known, strict=True)):
            return None
        return float(spearmanr(*zip(*known, strict=True)).statistic)


@dataclass(frozen=True)
class Times:
    """One row of what `report --latency` writes: milliseconds of a batch, GFLOP of one image.

    `bare_ms` is the backbone's alone; `active` are the values that the model holds. What is merged
    into the weights is None where nothing can be.
    """

    backbone: str
    image_size: int
    method: str
    ms: float
    bare_ms: Annotated[float, Number(float, least=1e-9)]
    gflop: float = 0.0
    active: int = 0
    merged_ms: float | None = None
    merged_active: int | None = None


def read_latency(folders: Sequence[Path]) -> dict[tuple[str, int, str], Times]:
    """Return what was timed, by backbone, image size and method; empty where nothing was.

    Half a file counts as none: `report --latency` writes it again.
    """
    found: dict[tuple[str, int, str], Times] = {}
    for path in (folder / LATENCY for folder in folders if (folder / LATENCY).exists()):
        with suppress(InputError):
            told = typed(dict[str, Any], read_json(path, ""), "").get("rows", [])
            rows = typed(list[Times], told, "rows")
            found |= {(row.backbone, row.image_size, row.method): row for row in rows}
    return found


def build(frame: Frame, table: Table, folders: Sequence[Path] = ()) -> Ledger:
    """Return the ledger of a table; `folders` may hold times of inference."""
    done = frame.done
    here = table.of(done)
    chosen = pd.concat(table.chosen.values()) if table.columns else here
    chosen = chosen.dropna(subset="train_s")  # scores of others come without costs
    # the combined scores are shares of full fine-tuning, where that was run
    full = _peak(chosen[chosen["method"] == "full"])
    entries = [
        _entry(table, method, part, here[here["method"] == method], full)
        for method in table.methods
        if len(part := chosen[chosen["method"] == method])
    ]
    scored = [(e.trained, e.score) for e in entries if e.score is not None]
    front = set(
        pareto(scored, less=any(metric_of(c.metric).lower_is_better for c in table.columns))
    )
    timed = read_latency(folders)
    marked = []
    for e in entries:
        times = timed.get((table.backbone, table.image_size, e.method))
        marked.append(
            replace(
                e,
                best=(e.trained, e.score) in front,
                latency=times.ms / times.bare_ms if times else None,
                merged=times.merged_ms / times.bare_ms if times and times.merged_ms else None,
            )
        )
    devices = tuple(sorted(chosen["device"].unique()))
    num_shared = int((here["processes_per_gpu"] > 1).sum())
    return Ledger(table.name, table.image_size, tuple(marked), devices, num_shared, table.groups)


def _peak(rows: pd.DataFrame) -> float | None:
    """Return the mean peak memory of training; None without rows or with some on a CPU."""
    if rows.empty or (rows["device"] == CPU).any():
        return None
    return float(rows["peak_mib"].mean())


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None


def _entry(
    table: Table, method: str, chosen: pd.DataFrame, every: pd.DataFrame, full: float | None
) -> Entry:
    # the smallest head, as in the tables: classes of a data set are no cost of the method
    row = chosen.loc[chosen["delta_bytes"].idxmin()]
    share = row["trainable_params"] / row["backbone_params"]
    means = [table.scores[method, column].mean for column in table.columns]
    known = [mean for mean in means if mean is not None]
    score = None
    if known and len(known) == len(means) and comparable(table.columns):
        score = sum(known) / len(known)
    peak = _peak(chosen)
    # beside others on its GPU a cell takes longer
    alone = chosen[~(chosen["processes_per_gpu"] > 1)]
    # one search for all seeds and label fractions of a data set
    earlier = chosen[["dataset", "earlier_s"]].drop_duplicates()["earlier_s"].sum()
    searched = None
    if not (every["processes_per_gpu"] > 1).any():
        searched = float((every["train_s"].sum() + earlier) / len(chosen))
    plain = all(
        metric_of(c.metric).is_share and metric_of(c.metric).higher_is_better for c in table.columns
    )
    combined = score if plain else None  # the combined scores are of shares that should be high
    return Entry(
        method=method,
        trained=int(row["trainable_params"]),
        share=100 * share,
        active=int(row["total_params"]),
        stored=row["delta_bytes"] / 2**20,
        gflop=float(chosen["train_gflop_per_image"].mean()),
        images_per_s=_mean(alone["images_per_s"]),
        seconds=_mean(alone["train_s"]),
        searched=searched,
        peak=peak,
        score=score,
        ppt=None if combined is None else ppt(combined, row["trainable_params"]),
        ppe=None if combined is None else ppe(combined, share),
        pme=None if None in (combined, peak, full) else ppe(combined, peak / full),  # type: ignore[arg-type, operator]
    )


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _time(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"


# The printed columns: heading, field of `Entry`, and how a value is written.
COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("trained", "trained", _count),
    ("%", "share", lambda value: f"{value:.2f}"),
    ("active", "active", _count),
    ("MiB", "stored", lambda value: f"{value:.3g}"),
    ("GFLOP", "gflop", lambda value: f"{value:.1f}"),
    ("img/s", "images_per_s", lambda value: f"{value:.0f}" if value else "--"),  # nothing trained
    ("infer", "latency", lambda value: f"{value:.2f}x"),
    ("merged", "merged", lambda value: f"{value:.2f}x"),
    ("train", "seconds", _time),
    ("+search", "searched", _time),
    ("peak", "peak", lambda value: f"{value:.0f}"),
    ("score", "score", lambda value: f"{value:.1f}"),
    ("PPT", "ppt", lambda value: f"{value:.1f}"),
    ("PPE", "ppe", lambda value: f"{value:.1f}"),
    ("PME", "pme", lambda value: f"{value:.1f}"),
    ("Pareto", "best", lambda value: "front" if value else ""),
)


UNITS = {
    "share": "share_percent",
    "stored": "stored_mib",
    "gflop": "train_gflop_per_image",
    "seconds": "train_s",
    "searched": "train_and_search_s",
    "peak": "peak_mib",
    "latency": "latency_x_bare",
    "merged": "merged_latency_x_bare",
}


def sheet(ledger: Ledger) -> Sheet:
    """Return the ledger as a table to print, without the columns that nothing is known of."""
    names = [e.method for e in ledger.entries]
    data: dict[str, list[object]] = {"method": [brief(m, names) for m in names]}
    for heading, name, _ in COLUMNS:
        values = [getattr(e, name) for e in ledger.entries]
        if any(value is not None for value in values):
            data[heading] = values
    where = f"Efficiency on {place(ledger.backbone, ledger.image_size)}"
    return Sheet(
        f"{where}, {', '.join(ledger.devices) or 'no device'}",
        pd.DataFrame(data, dtype=object),
        note=note(ledger),
        forms={heading: form for heading, _, form in COLUMNS},
    )


def frame(ledgers: Sequence[Ledger]) -> pd.DataFrame:
    """Return one row per method with every number; columns are the fields of `Entry`.

    A field in a unit says so in the name of its column; the others are counts, and scores in the
    units of tables (x 100 for shares).
    """
    made = pd.DataFrame(
        {
            "backbone": ledger.backbone,
            "image_size": ledger.image_size,
            "devices": "; ".join(ledger.devices),
            **asdict(entry),
        }
        for ledger in ledgers
        for entry in ledger.entries
    )
    return made.rename(columns=UNITS)


def note(ledger: Ledger) -> str:
    """Return what the columns are, and how far the combined scores order methods as the score."""
    parts = [
        "Pareto: on the front of score and trained values. "
        f"%: of {ledger.backbone}; active: values at inference, unmerged; MiB: stored delta "
        "with head; GFLOP: training, one image; "
        "train: one cell; +search: with all trials it was chosen from; score: mean over columns; "
        "PPT, PPE, PME: published combined scores of parameters and training memory."
    ]
    if CPU in ledger.devices:
        parts.append("No peak memory and PME on a CPU, where it is the whole process's.")
    if len(ledger.devices) > 1:
        parts.append("Times are of several devices: compare them with care.")
    if ledger.num_shared:
        cells = f"{ledger.num_shared} cell{'s' * (ledger.num_shared > 1)}"
        parts.append(f"img/s, train and +search leave out {cells} that shared a GPU.")
    if any(e.latency for e in ledger.entries):
        parts.append("infer, merged: time of inference in multiples of the bare backbone's.")
    for name in ("ppt", "ppe", "pme"):
        value = ledger.agreement(name)
        if value is not None:
            parts.append(f"{name.upper()} orders methods as the score does: Spearman {value:.2f}.")
    return " ".join(filter(None, [*parts, ledger.groups]))
