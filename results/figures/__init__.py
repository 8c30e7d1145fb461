"""Figures beyond label curves, parameters and ranks: each kind has a file of its own.

Every kind is a function from `Shown` to named figures; one look for all (`results.figures`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.core.registry import unknown
from results.figures import attention, confusion, heatmap, panels, reliability, training, trials
from results.figures.shown import Shown
from results.figures.style import stem_of, write
from results.frame import Frame
from results.tables import Table

Kind = Callable[[Shown], Iterator[tuple[str, Figure]]]
KINDS: dict[str, Kind] = {
    "heatmap": heatmap.figures,
    "training": training.figures,
    "confusion": confusion.figures,
    "reliability": reliability.figures,
    "trials": trials.figures,
    "panels": panels.figures,
    "attention": attention.figures,
}
DEFAULT = ("heatmap",)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of these names, in the order of `KINDS`; "all" stands for every one.

    Raises:
        InputError: for a name that is no kind.
    """
    if "all" in names:
        return tuple(KINDS)
    for name in names:
        if name not in KINDS:
            raise unknown("kind of figure", name, ("all", *KINDS))
    return tuple(kind for kind in KINDS if kind in names)


def save(
    frame: Frame,
    runs: Sequence[Path],
    tables: Sequence[Table],
    out: Path,
    kinds: Collection[str] = DEFAULT,
) -> list[Path]:
    """Write the figures of these kinds of every table into `out` and return the paths.

    A kind whose data is not there (no predictions stored, nothing tuned, no panels) adds none.
    """
    paths: list[Path] = []
    for table in tables:
        shown = Shown(table, frame.rows, tuple(runs))
        for kind in kinds:
            for name, figure in KINDS[kind](shown):
                stem = stem_of(table.name, table.image_size, *filter(None, (name, kind)))
                paths += write(figure, out, stem)
    return paths
