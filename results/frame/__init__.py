"""All records as one tidy table: one row per cell, checked, nothing averaged away.

Columns: the fields of the cell, `state` ("done", "failed", "n/a", "conflict"), `key`, `folder`,
`labels`, `metric`, `synthetic`, `val_*`, `test_*` (fractions, not percent), the costs under their
own names, `sources` (JSON of licences and citations), and what else lies in the folder
(`has_predictions`, `has_peek`, `has_external`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.core.registry import InputError
from results.frame import index, score_table
from results.frame.rows import FINISHED


@dataclass(frozen=True)
class Frame:
    """The rows, a sentence per record that is not used, and what else is worth a sentence."""

    rows: pd.DataFrame
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> pd.DataFrame:
        """Return the rows of finished cells."""
        return self.rows[self.rows["state"] == "done"]

    def beside(self, name: str) -> list[Path]:
        """Return the folders of the cells that have "predictions", "peek" or "external" as well."""
        has = self.rows[f"has_{name}"].astype(bool)
        return [Path(folder) for folder in self.rows["folder"][has]]


def load(
    folders: Sequence[Path], keys: Collection[str] | None = None, metric: str | None = None
) -> Frame:
    """Return the frame of all cells below `folders`; with `keys`, of these cells only.

    A CSV file in place of a folder holds scores of others (`score_table.read`, which takes
    `metric`).

    A finished cell outweighs an unfinished copy. Records of one cell that disagree are a fault;
    none of them is used, and the cell's state is "conflict".

    Raises:
        InputError: for a folder that does not exist, no record at all, or a run that a CSV holds
            and something else as well.
    """
    parts: list[pd.DataFrame] = []
    faults: list[str] = []
    notes: list[str] = []
    for folder in {path.resolve(): path for path in folders}.values():
        if folder.suffix == ".csv":
            parts.append(score_table.read(folder, metric))
            notes += [] if metric else score_table.others(parts[-1])
            continue
        if not folder.is_dir():
            raise InputError(f"no folder {str(folder)!r}; name the folder of a run with --runs")
        rows, bad, told = index.load(folder)
        if rows.empty and not bad:
            bad = [f"there is no record below {str(folder)!r}"]
        parts += [rows] * (not rows.empty)
        faults += bad
        notes += told
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"key": []})
    if keys is not None:
        rows = rows[rows["key"].isin(list(keys))]
    if rows.empty:
        raise InputError(
            "there is no readable record in "
            + ", ".join(f"{str(f)!r}" for f in folders)
            + "; train cells first with `python -m benchmark run`"
            + "".join(f"; {f}" for f in faults if "no record below" not in f)
        )
    score_table.check_alone(rows)
    rows, conflicts = _merged(rows)
    rows = rows.reindex(columns=[*rows.columns, *(n for n in FINISHED if n not in rows.columns)])
    # copied: columns that lie together are selected from much faster than many parts
    return Frame(rows.reset_index(drop=True).copy(), (*faults, *conflicts), tuple(notes))


def _merged(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return (one row per cell, a sentence per cell whose records disagree).

    Of equal records the one with the most scores and with predictions is kept.
    """
    twice = rows["key"].duplicated(keep=False)
    if not twice.any():
        return rows, []
    copies = rows[twice & (rows["state"] == "done")]
    scores = [name for name in rows.columns if name.startswith(("val_", "test_"))]
    spans = copies.groupby("key")[scores]
    several = spans.max() > spans.min()
    told = [_conflict(copies[copies["key"] == key], several.loc[key]) for key in _any(several)]
    order = pd.DataFrame(
        {
            "undone": rows["state"] != "done",
            "scores": -rows[scores].notna().sum(axis=1),
            "bare": ~rows["has_predictions"].astype(bool),
        }
    ).sort_values(["undone", "scores", "bare"], kind="stable")
    first = ~rows.loc[order.index, "key"].duplicated()
    kept = rows.loc[order.index[first]].sort_index()
    state = kept["state"].mask(kept["key"].isin(_any(several)), "conflict")
    return kept.assign(state=state), told


def _any(several: pd.DataFrame) -> list[str]:
    return list(several.index[several.any(axis=1)])


def _conflict(copies: pd.DataFrame, several: pd.Series) -> str:
    """Return the sentence on one cell: which records, and the first score that differs."""
    name = several.idxmax()
    row = copies.iloc[0]
    pairs = zip(copies["folder"], copies[name], strict=True)
    paths = " and ".join(f"{folder}/record.json ({value:.4f})" for folder, value in pairs)
    return (
        f"conflict: {paths} are records of one cell ({row['method']} on {row['dataset']}, seed "
        f"{row['seed']}) that disagree on {name}; none of them is used, move away what is wrong"
    )
