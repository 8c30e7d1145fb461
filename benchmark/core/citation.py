"""A published work in fields, so that no reader of a citation has to take a sentence apart."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any, Literal

_SMALL = {"a", "an", "the", "on", "of"}  # words that tell no title from another
OTHERS = "others"  # BibTeX's word for the authors that a list leaves out


@dataclass(frozen=True)
class Citation:
    """One published work.

    `authors` are "Family, Given" in the order of the work, an organisation without a comma, and
    `OTHERS` last where the list is cut. `venue` is the journal with volume and pages, or the
    conference; empty for a preprint. `arxiv` and `doi` are bare numbers, without an address.
    """

    authors: tuple[str, ...]
    title: str
    year: int
    venue: str = ""
    entry: Literal["article", "inproceedings", "misc"] = "misc"
    arxiv: str = ""
    doi: str = ""

    @property
    def who(self) -> str:
        """Return the authors as a text names them: "Tschandl et al."."""
        families = [author.partition(",")[0] for author in self.authors]
        if len(families) == 2 and families[1] != OTHERS:
            return " and ".join(families)
        return families[0] + (" et al." if len(families) > 1 else "")

    @property
    def short(self) -> str:
        """Return one line: "Tschandl et al. 2018, Scientific Data 5:180161"."""
        where = self.venue or (f"arXiv:{self.arxiv}" if self.arxiv else self.title)
        return f"{self.who} {self.year}, {where}"

    @property
    def named(self) -> str:
        """Return one line with the title up to a colon: "Hu et al. 2022, LoRA, arXiv:2106.09685".

        Papers of methods have their name there.
        """
        where = f"arXiv:{self.arxiv}" if self.arxiv else self.venue
        return ", ".join(filter(None, (f"{self.who} {self.year}", self.title.split(":")[0], where)))

    @property
    def key(self) -> str:
        """Return a BibTeX key: the first author, the year and the first word, "hu2022lora"."""
        plain = unicodedata.normalize("NFKD", f"{self.authors[0].partition(',')[0]}{self.year}")
        word = next(w for w in re.findall(r"[A-Za-z0-9]+", self.title) if w.lower() not in _SMALL)
        return re.sub(r"[^a-z0-9]", "", f"{plain}{word}".lower())

    def fields(self) -> dict[str, str]:
        """Return the BibTeX fields of the entry, in plain text: the writer escapes them."""
        place = {"article": "journal", "inproceedings": "booktitle"}.get(self.entry, "howpublished")
        values = {
            "author": " and ".join(self.authors),
            "title": self.title,
            place: self.venue,
            "year": str(self.year),
            "doi": self.doi,
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
        }
        return {name: value for name, value in values.items() if value}

    def to_json(self) -> dict[str, Any]:
        """Return what a record keeps; `typed` makes a citation of it again."""
        values = asdict(self)
        return values | {"authors": list(self.authors)}


def line(citations: tuple[Citation, ...]) -> str:
    """Return all citations in one line, divided by semicolons."""
    return "; ".join(citation.short for citation in citations)


def source(works: tuple[Citation, ...], passage: str = "") -> str:
    """Return the source of a method in one line; `passage` is a place in the first of `works`."""
    first, *rest = (work.named for work in works)
    return "; ".join([f"{first}, {passage}" if passage else first, *rest])
