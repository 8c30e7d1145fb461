"""Names of the user's are plain text in every file that is written."""

import csv
import json
import xml.dom.minidom

import pandas as pd
import pytest
from test_guards import put

from benchmark.__main__ import main
from benchmark.core import escape

NAMES = (r"$\frac$", "a$x_$b", "$$", "a|b", "a&b%c#d_e{f}g~h^i\\j", "=1+1", "@SUM(1)", "+x", "[/b]",
         "<b>x")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [("=1+1", "'=1+1"), ("-2+3", "'-2+3"), ("@x", "'@x"), ("\tx", "'\tx"), ("-2", "-2"),
     ("+1e-3", "+1e-3"), ("-1.5%", "-1.5%"), ("a=b", "a=b"), ("", "")],
)  # fmt: skip
def test_formulas(text, shown):
    assert escape.formula(text) == shown


def test_a_frame_as_csv():
    frame = pd.DataFrame({"=name": ["@a", None], "value": [-0.5, 1 / 3]})
    assert escape.csv(frame) == f"'=name,value\n'@a,-0.5\n,{1 / 3}\n"
    assert list(frame.columns) == ["=name", "value"]  # the frame itself is left alone


def test_markdown_and_latex():
    assert escape.markdown("a|b\nc") == r"a\|b c"
    assert escape.latex(r"a_b\c") == r"a\_b\textbackslash{}c"
    assert escape.latex("[λ|↑]") == r"{[}$\lambda$\textbar{}$\uparrow${]}"


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_a_data_set_with_such_a_name(tmp_path, name):
    runs, out = tmp_path / "runs", tmp_path / "out"
    for seed in (0, 1):
        for method in ("linear", "lora(rank=8)"):
            put(runs, 0.5 + seed / 10, dataset=name, method=method, seed=seed)
    assert main(["report", "--runs", str(runs), "--out", str(out), "--figures", "labels"]) == 0
    for path in out.glob("*.svg"):
        text = xml.dom.minidom.parse(str(path)).documentElement
        assert "mathdefault" not in text.toxml()
    for path in out.glob("*.csv"):
        for row in csv.reader(path.open()):
            for cell in row:
                assert escape.formula(cell) == cell
    lines = [line for line in (out / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize("name", ["a\x01b", "a\x1b[31mb", "a\ud800b"])
def test_control_characters_are_in_no_record(tmp_path, name, capsys):
    put(tmp_path, 0.5)
    path = put(tmp_path, 0.5, seed=1, dataset="odd")
    path.write_text(path.read_text().replace('"odd"', json.dumps(name)))
    places = ["--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["report", *places, "--format", "csv"]) == 1
    assert "not used" in capsys.readouterr().err
