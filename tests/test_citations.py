"""Whose work a method is: in fields, whole, and told alike with and without torch."""

import datetime
import re
from dataclasses import dataclass

import pytest

import methods
from benchmark.core.citation import OTHERS, Citation, source
from benchmark.core.typed import typed
from benchmark.training.citations import described, lookup, of_method
from results.tables.sources import Source, bibtex

OWN = {"full", "linear"}  # no paper defines them


@pytest.mark.parametrize("name", sorted(set(methods.methods) - OWN))
def test_every_method_cites_whole_works(name):
    cls = methods.methods[name]
    assert cls.works
    for work in cls.works:
        *first, last = work.authors
        assert all(re.fullmatch(r"[^,]+, [^,]+", author) for author in first)
        assert last == OTHERS or re.fullmatch(r"[^,]+, [^,]+", last)
        assert len(work.title) > 10
        assert not work.title.endswith(".")
        assert 1990 < work.year <= datetime.datetime.now(tz=datetime.UTC).year
        assert work.arxiv or work.doi or work.venue
        assert re.fullmatch(r"(\d{4}\.\d{4,5})?", work.arxiv)
        if work.arxiv:  # the preprint is not younger than what it became
            assert 2000 + int(work.arxiv[:2]) <= work.year
        assert (work.entry == "misc") == (not work.venue or work.venue.startswith("https://"))
        assert typed(Citation, work.to_json(), "a work") == work
    assert cls.works[0].who in cls.paper
    assert cls.paper.count(";") == len(cls.works) - 1


def test_no_two_works_share_a_key_and_no_two_methods_a_name():
    classes = [methods.methods[name] for name in methods.methods]
    works = {work for cls in classes for work in cls.works}
    assert len({work.key for work in works}) == len(works) > 35
    assert all(re.fullmatch(r"[a-z]+\d{4}[a-z0-9]+", work.key) for work in works)
    names = [cls.display for cls in classes]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(cls.family for cls in classes)


def test_what_is_read_without_torch_is_what_the_classes_say():
    assert set(described()) == set(methods.methods)
    for name, about in described().items():
        cls = methods.methods[name]
        for attribute in ("paper", "works", "passage", "display", "family"):
            assert about.get(attribute, type(getattr(cls, attribute))()) == getattr(cls, attribute)


def test_a_citation_names_its_method_and_has_a_key():
    work = Citation(("Müller, Ann", "De Boer, Bo"), "On the X: a Y", 2020, arxiv="2001.00001")
    assert work.named == "Müller and De Boer 2020, On the X, arXiv:2001.00001"
    assert work.key == "muller2020x"
    later = Citation(("Doe, Jo", OTHERS), "Nets", 2021, "Journal 1:2", "article")
    assert source((work, later), "eq. 3") == (
        "Müller and De Boer 2020, On the X, arXiv:2001.00001, eq. 3; "
        "Doe et al. 2021, Nets, Journal 1:2"
    )


def test_a_method_of_ones_own_carries_its_citation():
    work = Citation(("Doe, Jo",), "Mine: a method", 2026, arxiv="2601.00001")

    @dataclass(frozen=True)
    class Mine(methods.Method):
        works = (work,)
        passage = "eq. 1"

        def edit(self, backbone):
            pass

        def count(self, backbone):
            return 0

    assert Mine.paper == "Doe 2026, Mine, arXiv:2601.00001, eq. 1"

    class Told(Mine):
        paper = "a talk"

    assert Told.paper == "a talk"
    assert of_method(Mine.paper, Mine.works)["works"] == [work.to_json()]
    assert of_method("", ()) == {}


def test_the_bibtex_entry_of_a_method_is_made_of_fields():
    told = lookup("method", "lora")
    text = bibtex([Source("method", "lora", **told)])
    assert text.count("@") == 2
    assert "@inproceedings{" in text
    assert "author = {Hu, Edward J. and Shen, Yelong and" in text
    assert "booktitle = {International Conference on Learning Representations}" in text
    assert "Licence" not in text
