"""Whose work the tables stand on: a BibTeX entry and a licence of each data set, backbone, method.

Both come from the records; of what a record does not tell, from who asks for the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from benchmark.core.citation import Citation
from benchmark.core.escape import latex
from benchmark.core.registry import InputError
from benchmark.core.spec import base_name
from benchmark.core.typed import typed
from results.tables import Table
from results.tables.sheet import Sheet

Lookup = Callable[[str, str], dict[str, Any]]  # (kind, name) -> citation, works, licence, url
KINDS = {"data": "dataset", "backbone": "backbone", "method": "method"}  # and the cell's field
_PAPER = re.compile(r"(?P<authors>.*?)\b(?P<year>(?:19|20)\d\d)\b,?\s*(?P<rest>.*)", re.DOTALL)
_ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})")
UNKNOWN = "not known"


@dataclass(frozen=True)
class Source:
    """One data set, backbone or method; what is not known is empty."""

    kind: str
    name: str
    citation: str = ""
    licence: str = ""
    url: str = ""
    works: Sequence[dict[str, Any]] = ()  # the citation in fields; older records have none
    display: str = ""
    family: str = ""


def methods_of(rows: pd.DataFrame, field: str) -> dict[str, str]:
    """Return the "display" name or "family" that records give methods, by method; for own ones."""
    found: dict[str, str] = {}
    for method, text in rows[["method", "sources"]].drop_duplicates().itertuples(index=False):
        told = json.loads(text).get("method") or {} if isinstance(text, str) and text else {}
        if value := told.get(field):
            found[base_name(method)] = value
    return found


def collect(tables: Sequence[Table], lookup: Lookup | None = None) -> list[Source]:
    """Return the sources of all cells behind the tables, each once, by kind and name."""
    found: dict[tuple[str, str], Source] = {}
    for rows in (rows for table in tables for rows in table.chosen.values()):
        used = rows[[*KINDS.values(), "sources"]].drop_duplicates()
        for *names, text in used.itertuples(index=False, name=None):
            told = json.loads(text) if text else {}
            for kind, name in zip(KINDS, names, strict=True):
                name = base_name(name) if kind == "method" else name
                values = told.get(kind) or (lookup(kind, name) if lookup else {})
                known = {f.name: values[f.name] for f in fields(Source) if f.name in values}
                source = Source(kind, name, **known)
                if not found.get((kind, name), Source(kind, name)).citation:
                    found[kind, name] = source
    return sorted(found.values(), key=lambda s: (list(KINDS).index(s.kind), s.name))


def licences(sources: Sequence[Source]) -> Sheet:
    """Return the table of licences and citations."""
    data = pd.DataFrame(
        {
            "kind": s.kind,
            "name": s.name,
            "licence": s.licence or ("code of this benchmark" if s.kind == "method" else UNKNOWN),
            "citation": s.citation or UNKNOWN,
            "url": s.url,
        }
        for s in sources
    )
    note = (
        "Licences of data and weights as their registries state them: read the terms themselves "
        "before you publish or share."
    )
    return Sheet("Licences and citations", data, note=note)


def bibtex(sources: Sequence[Source]) -> str:
    """Return a BibTeX file with an entry per paper; the keys start with kind and name."""
    entries = [entry for source in sources for entry in _entries(source)]
    return "\n".join(entries) or "% no source of these cells is known\n"


def _entries(source: Source) -> Iterator[str]:
    """Yield an entry for each paper of a citation such as "A et al. 2020, T; B and C 2021, U"."""
    if source.works:
        yield from _structured(source)
        return
    papers = [text.strip() for text in source.citation.split(";") if text.strip()]
    for number, paper in enumerate(papers):
        fields = {"title": f"{{{latex(_title(source, paper))}}}", **_facts(paper)}
        if source.url and number == 0:
            fields["howpublished"] = f"\\url{{{source.url}}}"
        note = paper + (f". Licence: {source.licence}" if source.licence and not number else "")
        fields["note"] = latex(note)
        key = f"{source.kind}-{source.name}{'' if len(papers) == 1 else f'-{number + 1}'}"
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        yield f"@misc{{{re.sub(r'[^A-Za-z0-9-]+', '-', key)},\n{body}}}\n"


def _structured(source: Source) -> Iterator[str]:
    """Yield an entry for each work that is given in fields."""
    works = []
    for values in source.works:
        with suppress(InputError):  # of another version: the one line of the citation is left
            works.append(typed(Citation, values, "a work"))
    for number, work in enumerate(works):
        fields = {name: latex(value) for name, value in work.fields().items()}
        fields["title"] = f"{{{fields['title']}}}"  # braces keep its capitals
        if number == 0:
            fields |= {"url": source.url} if source.url else {}
            if source.licence:
                fields["note"] = latex(f"Licence: {source.licence}")
        key = f"{source.kind}-{source.name}{'' if len(source.works) == 1 else f'-{number + 1}'}"
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        yield f"@{work.entry}{{{key.replace('_', '-')},\n{body}}}\n"


def _facts(paper: str) -> dict[str, str]:
    """Return author, year and arXiv number, as far as a citation tells them."""
    facts = {}
    if match := _PAPER.fullmatch(paper):
        authors = re.split(r"[:,] | of ", match["authors"].strip().rstrip(","))[-1]
        facts = {"author": latex(authors.replace(" et al.", " and others")), "year": match["year"]}
    if number := _ARXIV.search(paper):
        facts |= {"eprint": number[1], "archivePrefix": "arXiv"}
    return {name: value for name, value in facts.items() if value}


def _title(source: Source, paper: str) -> str:
    """Return the title that follows the year, or the name where a journal or nothing follows."""
    match = _PAPER.fullmatch(paper)
    first = match["rest"].split(", ")[0] if match else ""
    if source.kind == "data" or not first or _ARXIV.match(first) or re.search(r"\d+:\d+", first):
        return source.name
    return first
