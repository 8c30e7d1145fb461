"""Figures: each kind is one file with a function from `Shown` to named figures.

A file registers its function with `@kind(NAME, shows=..., needs=...)`; help texts, `--figures all`
and the reasons of what is not drawn come from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmark.core.registry import discover
from results.figures.shown import KINDS, Shown
from results.figures.style import COLUMN, stem_of, theme, write
from results.frame import Frame

if TYPE_CHECKING:
    from results.statistics.stats import Statistics

__all__ = ["DEFAULT", "KINDS", "chosen", "draw", "write"]

discover("results.figures")
DEFAULT = tuple(name for name in KINDS if KINDS[name].default)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of these names and those drawn by default; "all" is every kind.

    Raises:
        InputError: for a name that is no kind.
    """
    for name in names:
        if name != "all":
            _ = KINDS[name]  # an unknown one raises
    return tuple(KINDS) if "all" in names else tuple(n for n in KINDS if n in {*names, *DEFAULT})


def draw(
    frame: Frame,
    runs: Sequence[Path],
    statistics: Sequence[Statistics],
    kinds: Collection[str] = DEFAULT,
    width: float = COLUMN,
    *,
    titles: bool = True,
    display: Callable[[str, str], str] = lambda kind, name: name,
) -> tuple[dict[str, Figure], list[str]]:
    """Return figures by the start of their file names, and sentences on what could not be drawn.

    A sentence is a kind that was asked for by name, with what it lacks.
    """
    found: dict[str, Figure] = {}
    lacking = []
    problems: dict[str, None] = {}
    for kind in kinds:
        before = len(found)
        for s in statistics:
            table = s.table
            shown = Shown(table, frame.rows, tuple(runs), s, width, titles, display)
            with theme():
                for name, figure in KINDS[kind].draw(shown):
                    parts = filter(None, (table.name, table.image_size, name, kind))
                    found[stem_of(*parts)] = figure
            problems |= shown.problems
        # of what is drawn by itself, nobody asked why it is not
        if len(found) == before and not KINDS[kind].default:
            lacking.append(f"no figure of the kind {kind}: {KINDS[kind].needs}")
    return found, [*lacking, *problems]
