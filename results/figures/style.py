"""One look for all figures: sizes for print, and one colour and marker per method.

Nothing here changes matplotlib's global state: figures are made without pyplot, and the settings
hold inside `theme()` only.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.core.spec import base_name

SUFFIXES = (".png", ".svg", ".pdf")
COLUMN, PAGE = 3.5, 7.0  # inches: the width of a column and of a page in print
WIDTHS = {"column": COLUMN, "page": PAGE}
MOST = 10  # methods drawn at once; beyond it, panels
_TEXT = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.parse_math": False,  # a $ is one of a name: no text here is a formula
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
}
# Ten colours that colour-blind readers tell apart, each in three depths: a method has one of its
# own wherever it is drawn. The ten that most papers compare have the full colours, in this order;
# no other method is named here, its name alone decides.
_FIRST = (
    *("full", "linear", "lora", "adaptformer", "vpt_deep", "bitfit", "dora", "ssf", "norm", "dvpt"),
)
_MARKERS = "osD^vP*Xp<"  # of the methods above
_OTHERS = "h8d>H"  # of all others
_DASHES = ("-", "--", ":")


@dataclass(frozen=True)
class Look:
    """How a method is drawn."""

    colour: tuple[float, float, float]
    marker: str
    line: str

    @property
    def hex(self) -> str:
        """Return the colour as "#rrggbb"."""
        return "#" + "".join(f"{round(255 * part):02x}" for part in self.colour)

    @property
    def style(self) -> dict[str, Any]:
        """Return the arguments of matplotlib."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


def _colour(place: int) -> tuple[float, float, float]:
    base = np.array(sns.color_palette("colorblind", 10)[place % 10])
    depth = place // 10 % 3
    shade = base if depth == 0 else 0.55 * base if depth == 1 else 0.5 * base + 0.5 * base.max()
    red, green, blue = (float(part) for part in shade)
    return red, green, blue


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return the look of each method: by its name alone, the same in every figure and sweep.

    Beyond the first ten colour and marker come from a hash of the name: dark for methods of this
    project, light for others, so that an own method is unlike those it is compared with. Settings
    of one method share its colour and have markers of their own.
    """
    found: dict[str, Look] = {}
    used: set[tuple[int, str, str]] = set()
    for method in sorted(methods):
        base = base_name(method)
        number = zlib.crc32(base.encode())
        if base in _FIRST:
            place, markers, first = _FIRST.index(base), _MARKERS, _FIRST.index(base)
        elif ":" in base or "@" in base:
            place, markers, first = 20 + number % 10, _OTHERS, number // 10
        else:
            place, markers, first = 10 + number % 10, _MARKERS, number // 10
        every = markers + "".join(m for m in _MARKERS + _OTHERS if m not in markers)
        turns = (
            (place, every[(first + step) % len(markers) if step < len(markers) else step], line)
            for line in (_DASHES[place // 10 % 3 :] + _DASHES[: place // 10 % 3])
            for step in range(len(every))
        )
        # the first that no other method of this figure has: its own, but for second settings
        key = next((turn for turn in turns if turn not in used), (place, markers[0], "-"))
        used.add(key)
        found[method] = Look(_colour(key[0]), key[1], key[2])
    return {method: found[method] for method in methods}


@contextmanager
def theme() -> Iterator[None]:
    """Set sizes that are read in print without scaling (text of 6.5 to 8 points), inside only."""
    settings: Any = {
        **sns.plotting_context("paper"),
        **sns.axes_style("ticks"),
        **_TEXT,
    }
    with mpl.rc_context(settings):
        yield


def new(
    rows: int = 1, across: int = 1, size: tuple[float, float] = (COLUMN, 2.5), **how: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure that pyplot does not know, and its axes (rows, across)."""
    figure = Figure(figsize=size, layout=how.pop("layout", "constrained"))
    grid = figure.subplots(rows, across, squeeze=False, **how)
    return figure, np.asarray(grid)


def write(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG (300 dpi), SVG and PDF and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    with theme():  # how text is embedded is read when a figure is saved
        for path in paths:
            # in memory first: on a full disk matplotlib fails in its own cleaning-up
            content = io.BytesIO()
            kind = path.suffix.removeprefix(".")
            figure.savefig(content, format=kind, dpi=300, bbox_inches="tight", pad_inches=0.03)
            path.write_bytes(content.getvalue())
    return paths


def stem_of(*names: object) -> str:
    """Return a file name without what a path would read as its own."""
    return "-".join(str(name) for name in names).replace("/", "_").replace(":", "_")


def parts(methods: Sequence[str], most: int = MOST) -> list[list[str]]:
    """Return the methods of each panel: at most `most` in one, in parts of about equal size."""
    count = -(-len(methods) // most)
    return [list(part) for part in np.array_split(np.array(methods, dtype=object), count or 1)]


def open_axes(axes: Axes) -> None:
    """Draw the frame of curves: two spines, and light lines to read values from."""
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)


def explain(figure: Figure, text: str) -> None:
    """Write below a figure what its bars, bands and colours are."""
    figure.text(0.5, -0.01, text, ha="center", va="top", fontsize=6.5, color="0.3", wrap=True)
