"""The table of a paper: what it shows, how wide it is, and what it refuses."""

import dataclasses
import io
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from test_guards import put
from test_results import make_record
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.core.record import write_record
from benchmark.core.registry import InputError
from results import frame
from results import paper_table as paper
from results.reporting import Options, report
from results.tables import latex
from results.tables.sheet import Score, Sheet, as_csv, markdown, terminal

EXAMPLES = Path(paper.__file__).parent / "examples"
DISPLAY = {"full": "Full FT", "lora": "LoRA", "busi": "BUSI", "tiny_vit": "Tiny ViT"}
FAMILY = {"full": "Reference", "lora": "Low-rank", "linear": "Reference"}
# LNCS by its width: llncs.cls is not on every machine
CLASSES = {
    "article": r"\documentclass{article}",
    "lncs": r"\documentclass{article}\textwidth 122mm",
    "column": r"\documentclass[twocolumn]{article}",
    "page": r"\documentclass[twocolumn]{article}",
}


@pytest.fixture
def runs(tmp_path):
    """Two settings of LoRA, full and an own method, on two sets; `my:Gate` was never run on `b`."""
    for method, dataset, fraction, seed in product(
        ("full", "lora(rank=4)", "lora(rank=8)", "my:Gate"), ("busi", "b"), (0.1, 1.0), (0, 1)
    ):
        value = 0.5 + 0.1 * (fraction == 1) + 0.02 * seed + 0.1 * (method == "full")
        if (method, dataset) != ("my:Gate", "b"):
            put(tmp_path, value, method=method, dataset=dataset, fraction=fraction, seed=seed)
    return tmp_path


def built(runs, **values):
    return paper.build(
        frame.load([runs]),
        [runs],
        paper.designed(values),
        lambda kind, name: DISPLAY.get(name, ""),
        lambda method: FAMILY.get(method, ""),
    )


def test_order_names_groups_and_header_of_a_table(runs):
    sheet = built(
        runs,
        methods=["lora", "my:Gate", "full"],
        datasets=["busi", "b"],
        fractions=[1.0, 0.1],
        names={"my:Gate": "Gate (ours)", "b": "B-set", "lora(rank=8)": "LoRA-8"},
    )
    assert sheet.header == [
        ("", "", "Method"),
        *product(("BUSI",), ("kappa",), ("100%", "10%")),
        *product(("B-set",), ("kappa",), ("100%", "10%")),
    ]
    assert [row[0] for row in sheet.texts] == ["Full FT", "LoRA (rank=4)", "LoRA-8", "Gate (ours)"]
    assert sheet.groups == [("Reference", 0), ("Low-rank", 1), ("Others", 3)]
    assert sheet.texts[0][1] == "71.0 ± 1.4"
    assert sheet.texts[3][3:] == ["--", "--"]
    text = latex.latex(sheet)
    assert r"\multicolumn{2}{c}{BUSI} & \multicolumn{2}{c}{B-set} \\" in text
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}" in text
    assert text.count(r"\multicolumn{5}{@{}l}{\emph{") == 3
    assert r"\label{tab:" in text


def test_a_table_is_the_same_numbers_in_every_format(runs):
    sheet = built(runs, methods=["full", "lora(rank=4)"], datasets=["busi"], unit="fraction")
    assert sheet.texts[0][1:] == ["0.610 ± 0.014", "0.710 ± 0.014"]
    back = pd.read_csv(io.StringIO(as_csv(sheet.frame())))
    column = "BUSI kappa 10%"
    assert back[column].tolist() == pytest.approx([0.61, 0.51])
    assert back[f"{column} sd"].tolist() == pytest.approx([0.01 * 2**0.5] * 2)
    assert back[f"{column} n"].tolist() == [2, 2]
    assert back["group"].tolist() == ["Reference", "Low-rank"]
    assert "**0.610 ± 0.014**" in markdown(sheet)
    assert "0.610 ± 0.014*" in terminal(sheet)


def test_digits_deviations_costs_average_and_marks(runs):
    sheet = built(
        runs, datasets=["busi"], digits=2, deviation=False, costs=["trained"], average=True,
        marks=False, group="none", methods=["full", "my:Gate"],
    )  # fmt: skip
    assert sheet.texts[0] == ["Full FT", "61.00", "71.00", "66.00", "0.00"]
    assert sheet.marks == {}
    assert sheet.groups == [("", 0)]


@pytest.mark.parametrize("transpose", [False, True])
def test_the_best_average_is_marked(runs, transpose):
    sheet = built(runs, average=True, transpose=transpose)
    names = [head[-1] for head in sheet.header] if transpose else [t[0] for t in sheet.texts]
    number = names.index("Full FT")
    place = (len(sheet.texts) - 1, number) if transpose else (number, len(sheet.header) - 1)
    row, column = place
    assert sheet.texts[row][column] == "66.0"  # 61, 71, 61, 71
    assert sheet.marks[place] == "*"
    # `full` leads in every column: 4 of scores and that of the average, and nothing else is bold
    assert sum("*" in mark for mark in sheet.marks.values()) == 5
    assert not built(runs, average=True, transpose=transpose, marks=False).marks


def test_an_average_of_single_runs_is_not_the_best_beside_repeated_ones(tmp_path):
    for method, value, seeds in (("full", 0.5, (0, 1)), ("lora", 0.9, (0,))):
        for dataset, seed in product("ab", seeds):
            put(tmp_path, value, method=method, dataset=dataset, seed=seed)
    sheet = built(tmp_path, average=True)
    assert [row[-1] for row in sheet.texts] == ["50.0", "90.0"]
    assert [sheet.marks.get((i, 3), "") for i in (0, 1)] == ["*", ""]


def test_a_method_of_ones_own_brings_name_and_family_in_its_records(tmp_path):
    cell = make_cell(method="gate@my.py(width=2)", dataset="a")
    told = {"method": {"citation": "Me 2026", "display": "Gate", "family": "Ours"}}
    record = dataclasses.replace(make_record(cell, 0.5), provenance={"sources": told})
    write_record(tmp_path / f"cell-{cell.key}", record)
    put(tmp_path, 0.4, method="full", dataset="a")
    options = Options(paper={"paper-t": paper.Design(layout="column")}, figures=())
    report([tmp_path], tmp_path / "out", options=options)
    text = (tmp_path / "out" / "paper-t.tex").read_text()
    assert r"Gate & \textbf{50.0}" in text
    assert r"\emph{Ours}" in text


def test_a_transposed_table_has_methods_in_columns(runs):
    sheet = built(runs, methods=["full", "lora"], transpose=True, group="none", costs=["share"])
    assert [head[-1] for head in sheet.header] == ["", "Full FT", "LoRA (rank=4)", "LoRA (rank=8)"]
    assert [row[0] for row in sheet.texts] == ["10%", "100%", "10%", "100%", "Trained (%)"]
    assert [title for title, _ in sheet.groups] == [
        "b, kappa",
        "BUSI, kappa",
        "",
    ]
    assert sheet.texts[0][1] == "61.0 ± 1.4"
    assert sheet.texts[4][1:] == ["10.00"] * 3
    assert "*" in sheet.marks[0, 1]


def test_what_is_best_is_judged_among_the_methods_of_the_table(runs):
    every = built(runs, datasets=["busi"], fractions=[1.0])
    fewer = built(runs, datasets=["busi"], fractions=[1.0], methods=["my:Gate", "lora(rank=4)"])
    best = [row for (row, _), mark in every.marks.items() if "*" in mark]
    assert [every.texts[row][0] for row in best] == ["Full FT"]
    assert sum("*" in mark for mark in fewer.marks.values()) == 2  # they are equal


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": ["lora"]}, "unknown key of the design 'method'; did you mean 'methods'"),
        ({"methods": "lora"}, "methods of the design is 'lora'; it is a list of texts"),
        ({"methods": [1]}, "it is a list of texts"),
        ({"digits": "2"}, "it is a whole number"),
        ({"digits": True}, "it is a whole number"),
        ({"digits": 9}, "a number from 0 to 6"),
        ({"fractions": [True]}, "a list of numbers"),
        ({"names": ["x"]}, "a table of texts"),
        ({"groups": {"A": "lora"}}, "a table of lists of methods"),
        ({"layout": "lncss"}, "did you mean 'lncs'"),
        ({"header": ["data set"]}, "unknown header of the design 'data set'"),
        ({"costs": ["flops"]}, "unknown costs"),
        ({"methods": ["full", "full"]}, "methods of the design has 'full' twice"),
        ({"groups": {"A": ["full"], "B": ["full"]}}, "groups of the design has 'full' twice"),
        ({"groups": {"A": ["full"]}, "group": "none"}, "leave one out"),
        ({"names": {"full": " "}}, "nothing for 'full'"),
        ({"names": {"full": "X", "my:Gate": "X"}}, "both 'X'"),
        ({"label": "tab:a}b"}, "label of the design holds '}'"),
        ({"methods": ["lorra"]}, "did you mean 'lora'"),
        ({"methods": ["lora(rank=5)"]}, "unknown method in these records"),
        ({"datasets": ["bussi"]}, "did you mean 'busi'"),
        ({"fractions": [0.3]}, "unknown fraction in these records '30%'"),
        ({"backbones": ["tiny_vitt"]}, "did you mean 'tiny_vit'"),
        ({"metrics": ["kapa"]}, "did you mean 'kappa'"),
        ({"header": ["dataset"]}, "two columns would both be 'b'; add 'fraction' to header"),
    ],
)
def test_a_bad_design_is_one_sentence(runs, values, message):
    with pytest.raises(InputError) as error:
        built(runs, **values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_design_are_one_sentence(tmp_path):
    (tmp_path / "broken.toml").write_text("methods = [")
    for path, changes in ((tmp_path / "none.toml", []), (tmp_path / "broken.toml", [])):
        with pytest.raises(InputError, match=path.name):
            paper.read(path, changes)
    (tmp_path / "good.toml").write_text("digits = 1\n")
    with pytest.raises(InputError, match="not KEY=VALUE"):
        paper.read(tmp_path / "good.toml", ["digits"])
    with pytest.raises(InputError, match="'digits' is given two values"):
        paper.read(tmp_path / "good.toml", ["digits=2", "digits = 3"])
    changed = paper.read(tmp_path / "good.toml", ["digits=2", "layout=lncs", 'methods=["lora"]'])
    assert (changed.digits, changed.layout, changed.methods) == (2, "lncs", ("lora",))
    (tmp_path / "good.toml").write_text('names = {full = "F"}\n')
    changed = paper.read(tmp_path / "good.toml", ["names.lora = 'L'"])
    assert changed.names == {"full": "F", "lora": "L"}


def test_the_command_writes_the_table_and_its_protocol(runs, tmp_path):
    design = tmp_path / "mine.toml"
    design.write_text('methods = ["full", "lora"]\n')
    flags = ["--runs", str(runs), "--out", str(tmp_path / "out"), "--figures", "none"]
    assert main(["report", *flags, "--paper", str(design), "--paper-set", "digits=2"]) == 0
    out = tmp_path / "out"
    text = (out / "paper-mine.tex").read_text()
    assert "61.00" in text
    assert "LoRA (rank=4)" in text
    assert "Fingerprints" not in re.sub(r"^%.*$", "", text, flags=re.M)
    assert "Fingerprints" in (out / "paper-mine-protocol.md").read_text()
    assert {"paper-mine.csv", "paper-mine.md"} <= {path.name for path in out.iterdir()}
    (tmp_path / "x").mkdir()
    other = tmp_path / "x" / "mine.toml"
    other.write_text("digits = 1\n")
    assert main(["report", *flags, "--paper", str(design), "--paper", str(other)]) == 2


def wide(columns, rows=22):
    """A table with long names, deviations and marks in every entry."""
    data = {("", "", "Method"): [f"Method number {i}" for i in range(rows)]}
    marks = {}
    for j in range(columns):
        head = (f"Data set {j // 3}", "balanced accuracy", ("10%", "40%", "100%")[j % 3])
        data[head] = [Score(70.0 + i, 10.5, 3) for i in range(rows)]
        marks |= {(i, j + 1): "*" if i == j else "=" for i in range(rows)}
    return Sheet(
        "Wide & 100 %",
        pd.DataFrame(data),
        "A_caption.",
        "",
        marks=marks,
        groups=[("A", 0), ("B", 9)],
    )


@pytest.mark.parametrize("layout", sorted(latex.LAYOUTS))
def test_tables_fit_their_page_when_compiled(runs, tmp_path, layout):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine: widths are checked by arithmetic alone")
    texts = [latex.latex(wide(columns), layout) for columns in (3, 6, 12)]
    for path in sorted(EXAMPLES.glob("*.toml")):
        design = paper.read(path, ["methods=[]", f"layout={layout}"])
        texts.append(latex.latex(paper.build(frame.load([runs]), [runs], design), layout))
    body = r"\clearpage".join(texts)
    source = CLASSES[layout] + r"\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
    (tmp_path / "t.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-800:]
    assert "Overfull \\hbox" not in answer.stdout, answer.stdout
