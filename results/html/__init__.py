"""One self-contained page of a report: opens from disk, asks the network for nothing.

Everything that records name (methods, data sets, classes) goes into JSON blocks, in which no
character can end them, and reaches the page as text only.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.core.files import write_text
from results.html.contents import Outside, contents

__all__ = ["Outside", "contents", "page", "write"]

NAME = "report.html"
_HERE = Path(__file__).parent
_SCRIPTS = ("dom.js", "state.js", "chart.js", "pivot.js", "entry.js", "compare.js", "page.js")


def write(values: dict[str, Any], out: Path, files: Mapping[str, str]) -> Path:
    """Write OUT/report.html, with `files` (text by name) as its downloads, and return its path.

    Pictures (.png, .pdf) that are in OUT are linked, not embedded: as SVG they are in `files`.
    """
    beside = [p.name for p in sorted(out.glob("*")) if p.suffix in (".png", ".pdf")]
    write_text(out / NAME, page(values | {"beside": beside}, files))
    return out / NAME


def page(values: dict[str, Any], files: Mapping[str, str] | None = None) -> str:
    """Return the page around `values`; what stands in `{{...}}` is filled once.

    Downloads are packed: they are as much text as everything else, and seldom read.
    """
    packed = {
        name: base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
        for name, text in (files or {}).items()
    }
    parts = {
        "style": (_HERE / "style.css").read_text(encoding="utf-8"),
        "script": "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        "data": embedded(values),
        "files": embedded(packed),
    }
    # one pass: text of a record that looks like a placeholder is not filled in again
    template = (_HERE / "template.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def embedded(values: dict[str, Any]) -> str:
    """Return JSON that no HTML parser reads as anything else.

    A parser ends a script at "</script", and reads "<!--" as the start of a comment, whatever the
    language: <, > and & are escaped, which JSON allows inside texts, the only place they occur.
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
