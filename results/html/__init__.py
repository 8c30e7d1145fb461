"""One self-contained page of a report: opens from disk, asks the network for nothing.

Everything that records name (methods, data sets, classes) goes into one JSON block, in which no
character can end it, and reaches the page as text only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.core.files import write_text
from results.costs.ledger import Ledger
from results.frame import Frame
from results.html.contents import contents
from results.statistics.stats import Statistics

NAME = "report.html"
_HERE = Path(__file__).parent
_PARTS = {"style": ("style.css",), "script": ("dom.js", "chart.js", "page.js")}


def write(
    frame: Frame,
    statistics: Sequence[Statistics],
    ledgers: Sequence[Ledger],
    out: Path,
    files: Mapping[str, str],
) -> Path:
    """Write OUT/report.html, with `files` (text by name) as its downloads, and return its path."""
    values = contents(frame, statistics, ledgers) | {"files": dict(files)}
    write_text(out / NAME, page(values))
    return out / NAME


def page(values: dict[str, Any]) -> str:
    """Return the page around `values`; `{{style}}`, `{{script}}` and `{{data}}` are filled once."""
    parts = {
        name: "\n".join((_HERE / file).read_text(encoding="utf-8") for file in files)
        for name, files in _PARTS.items()
    }
    parts["data"] = embedded(values)
    template = (_HERE / "template.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def embedded(values: dict[str, Any]) -> str:
    """Return JSON that no HTML parser reads as anything else: <, > and & are escaped in it."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
