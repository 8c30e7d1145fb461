"""The reference records in the repository: readable, dense, and as results/README.md says."""

import re
from pathlib import Path

from results import frame, tables

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference"


def test_the_example_in_the_readme_is_what_the_records_say():
    loaded = frame.load([REFERENCE])
    assert not loaded.faults
    (table,) = tables.build(loaded)
    page = (ROOT / "results" / "README.md").read_text()
    section = page.split("## Example: real images")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+)(?:\((.*)\))? +\|(.*)\|$", section, re.MULTILINE)[1:]
    assert len(rows) == 9
    for name, setting, cells in rows:
        (method,) = (m for m in table.methods if m.partition("(")[0] == name and setting in m)
        shown = [cell.strip() for cell in cells.split("|")][: len(table.columns)]
        scores = [table.scores[method, column] for column in table.columns]
        assert shown == ["" if s.mean is None else str(s) for s in scores], name


def test_every_reference_cell_names_clean_code():
    from benchmark.core.record import read_records

    records, faults = read_records(REFERENCE)
    assert not faults
    assert len(records) == 113
    assert not any(record.provenance["git_dirty"] for record in records)


def test_the_figures_of_the_readme_are_small():
    files = sorted((ROOT / "results" / "figures_example").iterdir())
    assert [file.name for file in files] == ["heatmap.png", "labels.png", "parameters.png"]
    assert sum(file.stat().st_size for file in files) < 300_000
