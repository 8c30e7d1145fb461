import dataclasses
import json
import resource
import shutil
import subprocess
from itertools import product

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from test_spec import make_cell

from benchmark.core.files import write_json
from benchmark.core.record import Cost, DataSummary, Record, read_record, write_record
from benchmark.core.registry import InputError, module_names
from results import frame, tables
from results.costs.pareto import pareto
from results.figures import style
from results.figures.parameters import scale_counts
from results.reporting import Options, report
from results.tables import latex, scores
from results.tables.sheet import markdown, terminal

COST = {
    "head_params": 15,
    "total_params": 1100,
    "full_bytes": 4000,
    "train_s": 1.0,
    "images_per_s": 9.0,
    "peak_mib": 5.0,
    "train_gflop_per_image": 0.1,
    "backbone_params": 1000,
}


def make_record(cell, test, val=0.5, trained=100, **data):
    scores = {"kappa": test, "accuracy": 0.5, "loss": 1.0}
    facts = {"labels_used": round(100 * cell.fraction), "metric": "kappa", "synthetic": False}
    return Record(
        cell=cell,
        data=DataSummary(**{**facts, **data}),
        selected_step=4,
        val={**scores, "kappa": val},
        test=scores,
        history=[],
        cost=Cost(**COST, trainable_params=trained, delta_bytes=4 * trained),
    )


# kappa x 100 of three methods in three columns, two seeds each: mean and, in brackets, deviation
#
#            a 10%         a 40%        b 10%
#   full     10, 20 (7.1)  50, 50 (0)   30, 31 (.7)
#   lora     20, 22 (1.4)  40, 60 (14)  failed, 12
#   linear    5,  5 (0)    50, 50 (0)   n/a
VALUES = {
    ("full", "a", 0.1): (10, 20),
    ("full", "a", 0.4): (50, 50),
    ("full", "b", 0.1): (30, 31),
    ("lora", "a", 0.1): (20, 22),
    ("lora", "a", 0.4): (40, 60),
    ("lora", "b", 0.1): ("failed", 12),
    ("linear", "a", 0.1): (5, 5),
    ("linear", "a", 0.4): (50, 50),
    ("linear", "b", 0.1): ("n/a", "n/a"),
}
ENTRY = {"backbone": "tiny_vit", "image_size": 56, "metric": "kappa", "shots": 0, "labels": 10}
ENTRY |= {"mean": 5.0, "sd": 0.0, "n": 2, "reason": "", "trained": 0, "share": 0, "weights": "w0"}
TRAINED = {"full": 1000, "lora": 100, "linear": 0}


@pytest.fixture
def runs(tmp_path):
    for (method, dataset, fraction), values in VALUES.items():
        for seed, value in enumerate(values):
            cell = make_cell(method=method, dataset=dataset, fraction=fraction, seed=seed)
            folder = cell.folder(tmp_path)
            write_json(folder / "cell.json", dataclasses.asdict(cell))
            if isinstance(value, str):
                name = "error.txt" if value == "failed" else "unsupported.txt"
                (folder / name).write_text("because\n")
            else:
                write_record(folder, make_record(cell, value / 100, trained=TRAINED[method]))
    return tmp_path


def test_every_number_of_the_table_by_hand(runs):
    (table,) = tables.build(frame.load([runs]))
    shown = {
        (method, c.dataset, c.fraction): str(table.scores[method, c])
        for method, c in product(table.methods, table.columns)
    }
    assert shown == {
        ("full", "a", 0.1): "15.0 ± 7.1",
        ("full", "a", 0.4): "50.0 ± 0.0",
        ("full", "b", 0.1): "30.5 ± 0.7",
        ("lora", "a", 0.1): "21.0 ± 1.4",
        ("lora", "a", 0.4): "50.0 ± 14.1",
        ("lora", "b", 0.1): "failed",  # never the mean of what is left
        ("linear", "a", 0.1): "5.0 ± 0.0",
        ("linear", "a", 0.4): "50.0 ± 0.0",
        ("linear", "b", 0.1): "n/a",
    }
    assert table.costs["lora"] == pytest.approx((100, 10.0, 400 / 2**20, 10.0))
    assert tables.marks(table, table.columns[0]) == {"lora": "*", "full": "", "linear": ""}
    # the same printed number is marked alike
    assert set(tables.marks(table, table.columns[1]).values()) == {"*"}


def test_a_missing_cell_is_named_and_one_seed_has_no_spread(tmp_path):
    for method, seeds in (("full", (0,)), ("lora", ())):
        for fraction in (0.1, 0.4):
            for seed in seeds if fraction == 0.1 else (0,):
                cell = make_cell(method=method, fraction=fraction, seed=seed)
                write_record(cell.folder(tmp_path), make_record(cell, 0.5))
    (table,) = tables.build(frame.load([tmp_path]))
    assert table.scores["lora", table.columns[0]].reason == "missing"
    assert str(table.scores["lora", table.columns[0]]) == "--"
    assert str(table.scores["full", table.columns[0]]) == "50.0"
    assert "n = 1: no spread" in table.caption


def test_the_trial_is_chosen_on_validation_and_the_number_is_told(tmp_path):
    for lr, val, test in ((0.1, 0.9, 0.2), (0.2, 0.5, 0.8), (0.3, 0.6, 0.9)):
        for seed in (0, 1):
            cell = make_cell(method="lora", lr=lr, seed=seed)
            write_record(cell.folder(tmp_path), make_record(cell, test, val=val))
    (table,) = tables.build(frame.load([tmp_path]))
    assert str(table.scores["lora", table.columns[0]]) == "20.0 ± 0.0"
    assert "trials per entry: 3" in table.caption


def test_two_folders_merge_and_what_disagrees_is_left_out_by_name(runs, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(runs, other, dirs_exist_ok=True)
    assert len(frame.load([runs, other]).rows) == len(frame.load([runs]).rows)
    path = sorted(other.rglob("record.json"))[0]
    values = json.loads(path.read_text())
    values["test"]["kappa"] += 0.01
    path.write_text(json.dumps(values))
    merged = frame.load([runs, other])
    (fault,) = merged.faults
    for name in (str(path), str(runs / path.relative_to(other)), "disagree on test_kappa"):
        assert name in fault
    (table,) = tables.build(merged)
    shown = {(m, c.dataset, c.fraction): str(s) for (m, c), s in table.scores.items()}
    cell = values["cell"]
    assert shown.pop((cell["method"], cell["dataset"], cell["fraction"])) == "conflict"
    (before,) = tables.build(frame.load([runs]))
    assert (
        shown.items()
        <= {(m, c.dataset, c.fraction): str(s) for (m, c), s in before.scores.items()}.items()
    )


def test_bad_records_are_told_and_good_ones_reported(runs):
    paths = sorted(runs.rglob("record.json"))
    paths[0].write_text(paths[0].read_text()[:50])
    values = json.loads(paths[1].read_text())
    paths[1].write_text(json.dumps({**values, "schema": 99}))
    values = json.loads(paths[2].read_text())
    values["cell"]["lr"] = 7.0
    paths[2].write_text(json.dumps(values))
    made = report([runs], runs / "report")
    assert len(made.faults) == 3
    assert "is not a whole JSON file" in made.faults[0]
    assert "record schema 99, this version reads 1" in made.faults[1]
    assert "was edited" in made.faults[2]
    assert "lora" in made.text


def test_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match="there is no readable record"):
        report([tmp_path], tmp_path)
    with pytest.raises(InputError, match="no folder"):
        report([tmp_path / "absent"], tmp_path)


def test_unknown_metrics_are_refused(runs):
    with pytest.raises(InputError, match="unknown metric 'kapa'; did you mean 'kappa'"):
        report([runs], runs / "report", options=Options(metric="kapa"))
    made = report([runs], runs / "report", options=Options(metric="accuracy", formats=["csv"]))
    assert ",accuracy," in (runs / "report" / "table.csv").read_text()
    assert set(made.tables["scores"]["metric"]) == {"accuracy"}


def test_records_are_read_back_equal(tmp_path):
    record = make_record(make_cell(), 0.25)
    path = write_record(tmp_path / "x", record)
    assert read_record(path) == record
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["record.json"]  # no temporary left
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "nan.json", {"x": float("nan")})
    assert not (tmp_path / "nan.json").exists()


def test_renderings(runs):
    (table,) = tables.build(frame.load([runs]))
    made = scores.sheet(table)
    assert max(map(len, terminal(made).splitlines())) <= 100
    assert "**21.0 ± 1.4**" in markdown(made)
    rows = scores.tidy([table]).set_index(["method", "dataset", "fraction"])
    assert len(rows) == 9
    row = rows.loc["linear", "a", 0.1].to_dict()
    assert row | ENTRY == row
    text = latex.latex(made)
    assert r"\textbf{21.0}{\scriptsize\,$\pm$\,1.4}" in text
    assert r"10\%" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_a_wide_table_is_shown_as_one_table_per_data_set(tmp_path):
    for dataset, method, fraction in product(
        ("left_set", "right_set"), ("full", "adaptformer"), (0.1, 0.2, 0.4, 1.0)
    ):
        cell = make_cell(dataset=dataset, method=method, fraction=fraction)
        if (dataset, method) != ("left_set", "full"):
            write_record(cell.folder(tmp_path), make_record(cell, 0.123))
    (table,) = tables.build(frame.load([tmp_path]))
    text = terminal(scores.sheet(table))
    left, right = text.split("right_set", 1)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("adaptformer") == 2  # in each part, in one piece
    assert ("full" in left, "full" in right) == (False, True)  # not planned on the left
    assert text.count("Test scores") == 1


def test_latex_compiles(runs, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    (table,) = tables.build(frame.load([runs]))
    text = latex.latex(scores.sheet(table))
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "t.tex").write_text(head + text + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-500:]


def test_figures_are_written_and_methods_keep_their_look(runs, tmp_path):
    before = dict(mpl.rcParams)
    made = report([runs], tmp_path / "figures")
    paths = [p for p in made.paths if p.suffix in style.SUFFIXES]
    assert sum("labels" in p.name for p in paths) == 3  # only set a has two fractions
    assert all(p.stat().st_size > 3000 for p in paths)
    assert {p.stem for p in paths} == set(made.figures)
    assert dict(mpl.rcParams) == before  # nobody else's figures change
    assert plt.get_fignums() == []


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_on_a_full_disk_is_an_error_of_the_disk(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(style, "SUFFIXES", (suffix,))
    figure, grid = style.new()
    grid[0, 0].plot([0, 1])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            style.write(figure, tmp_path, "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("counts", [[0], [0, 0], [0, 50], [50, 5000]])
def test_counts_that_may_be_none_have_a_scale(counts):
    _, grid = style.new()
    scale_counts(grid[0, 0], counts)
    left, right = grid[0, 0].get_xlim()
    assert left < min(counts) <= max(counts) < right


def test_a_method_looks_the_same_in_every_sweep():
    ours = ["adaptformer", "bitfit", "full", "linear", "lora(rank=4)", "ssf", "vpt_deep", "mine"]
    alone = {m: style.looks([m])[m] for m in ours}
    assert style.looks(ours) == alone
    assert len({look.colour for look in alone.values()}) == len(ours)
    every = [*module_names("methods"), *(f"own.py:Own{i}" for i in range(20))]
    assert len(set(style.looks(every).values())) == len(every)
    two = style.looks(["lora(rank=4)", "lora(rank=8)"])
    assert len({look.colour for look in two.values()}) == 1  # settings of one method
    assert len(set(two.values())) == 2


def test_without_a_folder_nothing_is_written(runs):
    before = sorted(runs.rglob("*"))
    made = report([runs])
    assert (made.paths, sorted(runs.rglob("*"))) == ((), before)
    assert made.tables["scores"]["mean"].dtype == float
    assert made.figures


def test_the_pareto_front_by_hand():
    points = [(0, 1.0), (10, 3.0), (10, 2.0), (20, 2.5), (30, 4.0)]
    assert pareto(points) == [(0, 1.0), (10, 3.0), (30, 4.0)]
