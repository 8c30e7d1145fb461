"""The reference study in the repository: readable, dense, and as results/README.md says."""

import re
import runpy
from pathlib import Path

import pytest

from benchmark.core.record import read_records

RESULTS = Path(__file__).parent.parent / "results"
STUDY, FIRST, FULL, CONTROLS, BRAIN, TRIALS, EQUAL_STEPS = (
    RESULTS / name
    for name in (
        "reference",
        "reference_first",
        "reference_full",
        "reference_controls",
        "reference_icbm152",
        "reference_trials",
        "equal_steps",
    )
)


def test_the_tables_of_the_page_are_what_the_records_say():
    page = (RESULTS / "README.md").read_text()
    made = runpy.run_path(str(RESULTS.parent / ".ci" / "refresh_figures"))["tables"]()
    marks = dict(re.findall(r"<!-- study (\w+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))
    assert marks == made, "run .ci/refresh_figures"
    assert all(rows.count("\n") > 3 for rows in made.values())


@pytest.mark.parametrize(
    ("folder", "count"),
    [
        (STUDY, 144),
        (FIRST, 4),
        (FULL, 9),
        (CONTROLS, 9),
        (BRAIN, 12),
        (TRIALS, 108),
        (EQUAL_STEPS, 113),
    ],
)
def test_every_cell_names_clean_code(folder, count):
    records, faults = read_records(folder)
    assert not faults
    assert len(records) == count
    assert not any(record.provenance["git_dirty"] for record in records)


def test_every_method_of_the_study_was_tuned_alike():
    """By the trials beside it, of the same data; nearest neighbours have no rate."""
    trials = read_records(TRIALS)[0]
    told = [record for folder in (STUDY, FIRST, BRAIN) for record in read_records(folder)[0]]
    tuned = [r for r in told if not r.cell.method.startswith("knn")]
    for record in tuned:
        earlier = record.provenance["earlier"]
        assert (earlier["trials"], earlier["seeds"], earlier["steps"]) == (4, [100], [100])
        assert record.cell.seed not in earlier["seeds"]
        same = (record.cell.method, record.cell.data)
        own = [t for t in trials if (t.cell.method, t.cell.data) == same]
        assert len(own) == 4
        best = max(own, key=lambda t: t.val[record.data.metric])
        assert (best.cell.lr, best.cell.tuned) == (record.cell.lr, record.cell.tuned)


def test_the_figures_of_the_page_are_small():
    files = sorted((RESULTS / "reference_figures").iterdir())
    assert [file.name for file in files] == ["attention.jpg", "labels.png", "parameters.png"]
    assert sum(file.stat().st_size for file in files) < 300_000
