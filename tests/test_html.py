"""The page of a report without a browser: what it holds, and that nothing in it can break out."""

import dataclasses
import json
import re

import pytest
from test_results import make_record
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.core.files import write_json
from benchmark.core.record import write_record
from results import frame, html, tables
from results.costs import ledger
from results.html.contents import contents
from results.html.provenance import counted
from results.reporting import Options, report
from results.statistics import stats

HOSTILE = "z</script><img src=x onerror='window.taken = 1'>&amp;"

# kappa x 100 of two seeds; three reasons for no score; a data set whose name is markup
#
#           a 10%     a 40%     b 10%     HOSTILE 10%
# full      10, 20    50, 50    30, 31    40
# lora      20, 22    40, 60    failed    35
# linear     5,  5    missing   n/a       45
PAGE = {
    ("full", "a", 0.1): (10, 20),
    ("full", "a", 0.4): (50, 50),
    ("full", "b", 0.1): (30, 31),
    ("full", HOSTILE, 0.1): (40,),
    ("lora", "a", 0.1): (20, 22),
    ("lora", "a", 0.4): (40, 60),
    ("lora", "b", 0.1): ("failed",),
    ("lora", HOSTILE, 0.1): (35,),
    ("linear", "a", 0.1): (5, 5),
    ("linear", "b", 0.1): ("n/a", "n/a"),
    ("linear", HOSTILE, 0.1): (45,),
}
TRAINED = {"full": 1000, "lora": 100, "linear": 0}


def make_page_runs(runs):
    for (method, dataset, fraction), values in PAGE.items():
        for seed, value in enumerate(values):
            cell = make_cell(method=method, dataset=dataset, fraction=fraction, seed=seed)
            folder = runs / f"cell-{cell.key}"
            write_json(folder / "cell.json", dataclasses.asdict(cell))
            if isinstance(value, str):
                name = "error.txt" if value == "failed" else "unsupported.txt"
                (folder / name).write_text("because\n")
            else:
                made = make_record(
                    cell, value / 100, trained=TRAINED[method], synthetic=dataset == "b"
                )
                write_record(folder, made)


def values_of(runs):
    """Return the values of the page of these records, downloads included."""
    make_page_runs(runs)
    loaded = frame.load([runs])
    found = stats.build(tables.build(loaded), [runs])
    ledgers = [ledger.build(loaded, s.table, [runs]) for s in found]
    values = contents(loaded, found, ledgers)
    return values | {"files": {"table.csv": "a,b", "table.tex": "x", "statistics.csv": "c"}}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    return values_of(tmp_path_factory.mktemp("page"))


def data_of(text):
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(block)


def test_entries_by_hand(values):
    (table,) = values["tables"]
    columns = [(c["dataset"], c["share"]) for c in table["columns"]]
    methods = [m["name"] for m in table["methods"]]

    def entry(method, *column):
        return table["scores"][methods.index(method)][columns.index(column)]

    assert entry("lora", "a", "10%") == [21.0, 1.4142, 2, "", "best", 1, 1]
    assert entry("linear", "a", "40%")[3] == "missing"
    assert entry("lora", "b", "10%")[3] == "failed"
    assert entry("linear", "b", "10%")[3] == "n/a"
    assert entry("linear", HOSTILE, "10%") == [45.0, None, 1, "", "best", 1, 1]
    assert [c["synthetic"] for c in table["columns"]] == [d == "b" for d, _ in columns]
    assert values["counts"] == {"done": 15, "n/a": 2, "failed": 1}


def test_a_tie_is_said_and_is_not_the_best(values):
    (table,) = values["tables"]
    place = [(c["dataset"], c["share"]) for c in table["columns"]].index(("a", "40%"))
    standings = {
        method["name"]: table["scores"][m][place][4] for m, method in enumerate(table["methods"])
    }
    assert standings == {"full": "best", "lora": "best", "linear": ""}  # both print 50.0


def test_protocol_and_provenance_name_what_was_run(values):
    about = {section["title"]: dict(section["rows"]) for section in values["about"]}
    assert about["Protocol"]["training seeds"] == "0, 1"
    assert set(about["Data"]) == {"a", "b", HOSTILE}
    assert "no evidence about patients" in about["Data"]["b"]
    assert counted(["x", "y", "y"]) == "y (2 cells), x (1 cells)"


def test_no_name_ends_the_data_or_fills_a_placeholder(values):
    text = html.page(values | {"notes": ["{{style}} {{data}} \u2028"]})
    assert HOSTILE not in text
    assert text.count("</script>") == 2  # of the data and of the script
    found = data_of(text)
    assert found["notes"] == ["{{style}} {{data}} \u2028"]
    assert HOSTILE in {c["dataset"] for c in found["tables"][0]["columns"]}


def test_the_page_names_nothing_outside_itself(values):
    page = html.page({**values, "tables": [], "files": {}, "about": []})
    assert not re.findall(r"""(?:src|href)=["']?(?!#|data:,)[\w/.:]""", page)
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page


def test_report_writes_the_page_beside_the_tables(tmp_path):
    make_page_runs(tmp_path)
    made = report(
        [tmp_path], tmp_path / "out", options=Options(formats=("csv", "html"), figures=())
    )
    assert tmp_path / "out" / "report.html" in made.paths
    found = data_of((tmp_path / "out" / "report.html").read_text())
    assert found["files"]["table.csv"] == (tmp_path / "out" / "table.csv").read_text()
    assert found["files"]["statistics.csv"] == (tmp_path / "out" / "statistics.csv").read_text()


def test_an_unreadable_record_is_told_on_the_page(tmp_path):
    make_page_runs(tmp_path)
    path = sorted(tmp_path.rglob("record.json"))[0]
    path.write_text(path.read_text()[:40])
    report([tmp_path], tmp_path / "out", options=Options(formats=("html",), figures=()))
    (fault,) = data_of((tmp_path / "out" / "report.html").read_text())["faults"]
    assert "is not a whole JSON file" in fault


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--figures", "pie"], "pie"),
        (["--panels", "-1"], "--panels -1 is not a number of images"),
        (["--format", "htm"], "html"),
        (["--panels", "1", "--source", "a"], "--source 'a' is not NAME=PATH"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path, capsys, flags, said):
    make_page_runs(tmp_path)
    assert main(["report", "--runs", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
