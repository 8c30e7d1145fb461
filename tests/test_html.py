"""The page of a report without a browser: what it holds, and that nothing in it can break out."""

import argparse
import base64
import dataclasses
import gzip
import io
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_results import make_record
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.commands._axes import add_axes, axes_of
from benchmark.core.files import write_arrays, write_json
from benchmark.core.record import write_record
from benchmark.core.registry import InputError
from benchmark.data import open_dataset
from benchmark.data.thumbnails import thumbnails
from benchmark.sweep.grid import Grid, flags_of, with_axes
from benchmark.sweep.resolve import Resolver
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
    """Return the values of the page of these records."""
    make_page_runs(runs)
    return contents_of(runs)


def contents_of(runs, outside=None):
    loaded = frame.load([runs])
    found = stats.build(tables.build(loaded), [runs])
    ledgers = [ledger.build(loaded, s.table, [runs]) for s in found]
    return contents(loaded, found, ledgers, [runs], outside=outside or html.Outside())


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    return values_of(tmp_path_factory.mktemp("page"))


def data_of(text, name="data"):
    pattern = rf'<script type="application/json" id="{name}">(.*?)</script>'
    (block,) = re.findall(pattern, text, re.S)
    return json.loads(block)


def files_of(text):
    packed = data_of(text, "files")
    return {n: gzip.decompress(base64.b64decode(body)).decode() for n, body in packed.items()}


def places_of(table):
    columns = {(c["dataset"], c["share"]): i for i, c in enumerate(table["columns"])}
    return columns, {m["name"]: i for i, m in enumerate(table["methods"])}


def test_entries_by_hand(values):
    (table,) = values["tables"]
    columns, methods = places_of(table)

    def entry(method, *column):
        view = table["views"][0]
        assert view["metric"] == ""
        return view["scores"][methods[method]][view["columns"].index(columns[column])]

    assert entry("lora", "a", "10%") == [21.0, 1.4, 2, "*"]
    assert entry("linear", "a", "40%") == ["missing"]
    assert entry("lora", "b", "10%") == ["failed"]
    assert entry("linear", "b", "10%") == ["n/a"]
    assert entry("linear", HOSTILE, "10%") == [45.0, None, 1, "*¹"]
    # both print 50.0, so both are best
    assert [entry(m, "a", "40%")[3] for m in ("full", "lora")] == ["*", "*"]
    assert [c["synthetic"] for c in table["columns"]] == [d == "b" for d, _ in columns]
    assert values["counts"] == {"done": 15, "n/a": 2, "failed": 1}


def test_ranks_and_averages_are_of_the_chosen_columns(values):
    (table,) = values["tables"]
    _, methods = places_of(table)
    sums = table["views"][0]["sums"]
    assert set(sums) == {"", "share 10%", "share 40%", "set a", "set b", f"set {HOSTILE}"}
    rows = sums["set a"]["rows"]
    # of a 10 % and a 40 %: full 15 and 50, lora 21 and 50 (a shared place), linear lacks one
    assert [rows[methods["full"]][i] for i in (0, 3)] == [1.75, 32.5]
    assert [rows[methods["lora"]][i] for i in (0, 3)] == [1.25, 35.5]
    assert rows[methods["linear"]] == [None] * 6
    assert rows[methods["full"]][4] < 32.5 < rows[methods["full"]][5]  # two seeds: an interval
    # over all columns no method but one is complete: it has an average, and nothing to be ranked by
    whole = sums[""]["rows"]
    assert whole[methods["full"]][0] is None
    assert whole[methods["full"]][3:] == [33.9, None, None]  # one seed on the last data set
    assert whole[methods["lora"]] == [None] * 6


def test_another_metric_is_a_view_of_its_own(values):
    (table,) = values["tables"]
    _, methods = places_of(table)
    view = next(v for v in table["views"] if v["metric"] == "accuracy")
    assert view["scores"][methods["full"]][0] == [50.0, 0.0, 2, "*"]
    assert values["metrics"]["loss"]["less"] is True
    assert "temperature" not in values["metrics"]


def test_another_metric_of_untuned_cells_is_what_the_tables_say(tmp_path):
    make_page_runs(tmp_path)
    loaded = frame.load([tmp_path])
    (own,), (built,) = tables.build(loaded), tables.build(loaded, "accuracy")
    quick = tables.by_metric(own, loaded, "accuracy")
    assert (quick.columns, quick.methods) == (built.columns, built.methods)
    assert (quick.scores, quick.chance) == (built.scores, built.chance)
    cell = make_cell(method="lora", dataset="a", fraction=0.1, lr=0.5)
    write_record(tmp_path / "another trial", make_record(cell, 0.9))
    loaded = frame.load([tmp_path])
    (own,) = tables.build(loaded)
    assert tables.by_metric(own, loaded, "accuracy") is None


def test_every_two_methods_are_compared(values):
    (table,) = values["tables"]
    columns, methods = places_of(table)
    first, second = sorted((methods["full"], methods["lora"]))
    pair = table["pairs"]["found"][f"{first},{second}"]
    sign = 1 if first == methods["full"] else -1
    assert pair[columns["a", "10%"]][0] == sign * -6.0
    assert pair[columns["b", "10%"]] is None  # lora failed there
    difference, low, high, better, p = pair[columns[HOSTILE, "10%"]]
    assert (difference, low, high, better, p) == (sign * 5.0, None, None, None, None)  # n = 1


def test_reasons_of_failures_are_named(values):
    reasons = {(state, method, name): why for state, method, name, *_, why in values["failures"]}
    assert reasons == {
        ("failed", "lora", "b"): "because",
        ("n/a", "linear", "b"): "because",
    }


def test_runs_of_an_entry_and_its_command(tmp_path):
    make_page_runs(tmp_path)
    values = contents_of(tmp_path, html.Outside(command=flags_of))
    (table,) = values["tables"]
    columns, methods = places_of(table)
    entry = f"{methods['lora']},{columns['a', '40%']}"
    used, *runs = table["runs"]["found"][entry]
    names = [table["runs"]["metrics"][i] for i in used]
    assert [(run[0], run[3], run[7][names.index("kappa")]) for run in runs] == [
        (0, 1, 0.4),
        (1, 1, 0.6),
    ]
    assert all(run[4].startswith("cell-") for run in runs)  # below the folder of runs
    words = (table["command"] + table["commands"][entry]).split()
    assert words[:4] == ["python", "-m", "benchmark", "run"]
    flags = dict(zip(words[4::2], words[5::2], strict=True))
    assert (flags["--methods"], flags["--fractions"], flags["--datasets"]) == ("lora", "0.4", "a")
    assert "--seeds" not in flags  # the page names those of the entry


def test_the_command_of_a_cell_makes_the_same_cell():
    parser = argparse.ArgumentParser()
    add_axes(parser)
    common = ["--backbones", "tiny_vit", "--datasets", "phantom_grading", "--methods"]
    for flags in (
        ["linear"],
        ["lora(rank=2)", "--fractions", "0.3", "--lr", "0.0123", "--seeds", "3", "--steps", "7"],
        ["full", "--shots", "2", "--balance", "loss", "--augment", "flip", "--views", "2"],
        ["bitfit", "--head-lr", "0.5", "--warmup", "0", "--clip", "2", "--split-seeds", "4"],
        ["linear", "--output", "ordinal", "--weight-decay", "0.1", "--batch-size", "4"],
        ["linear", "--evaluations", "1", "--image-size", "64", "--precision", "bf16"],
        ["linear", "--patience", "2", "--steps", "200"],
    ):
        given = axes_of(parser.parse_args([*common, *flags]))
        grid = with_axes(replace(Grid(), fractions=(0.5,)), given)
        (cell,) = Resolver().cells([grid])
        again = [f"--{n.replace('_', '-')}={v}" for n, v in flags_of(cell.values()).items()]
        words = shlex.split(" ".join(again))  # as a shell reads them
        (made,) = Resolver().cells([with_axes(Grid(), axes_of(parser.parse_args(words)))])
        assert made == cell


def test_the_command_of_a_drawn_trial_has_its_values():
    cell = {**make_cell(method="lora(rank=4)").values(), "tuned": "scale=10.0"}
    assert flags_of(cell)["methods"] == "'lora(rank=4,scale=10.0)'"


# probabilities of class 1 for four test images of classes 0, 0, 1, 1
PROBS = {"full": (0.1, 0.6, 0.9, 0.8), "lora": (0.2, 0.1, 0.2, 0.9)}


def make_detailed_runs(runs):
    for method, found in PROBS.items():
        for seed in (0, 1, 2):
            cell = make_cell(method=method, dataset="a", seed=seed)
            folder = runs / f"cell-{cell.key}"
            folder.mkdir(parents=True)
            probs = np.array([[1 - p, p] for p in found])
            arrays = {"probs": probs, "labels": np.array([0, 0, 1, 1])}
            arrays |= {"ids": np.array(list("wxyz")), "groups": np.array(list("wxyz"))}
            write_arrays(
                folder / "predictions.npz",
                **{f"{split}_{n}": v for split in ("val", "test") for n, v in arrays.items()},
            )
            made = make_record(cell, 0.5, classes=("no", "yes"), task="classification")
            history = [{"step": 10 * i, "train_loss": 1 / i, "val_kappa": 0.1 * i} for i in (1, 2)]
            write_record(folder, dataclasses.replace(made, history=history))


def test_confusion_training_and_images_by_hand(tmp_path):
    make_detailed_runs(tmp_path)
    (table,) = contents_of(tmp_path)["tables"]
    _, methods = places_of(table)
    full, lora = (table["entries"][f"{methods[name]},0"] for name in ("full", "lora"))
    assert full["confusion"] == [3, 3, 0, 6]  # three seeds: x is called yes in all
    assert lora["confusion"] == [6, 0, 3, 3]
    assert full["curve"] == {"loss": [[10, 1.0], [20, 0.5]], "val": [[10, 0.1], [20, 0.2]]}
    before = full["reliability"][0]
    assert sum(point[2] for point in before["points"]) == 12
    assert before["ece"] == pytest.approx(0.25)  # (.2 + .6 + .2) / 4: w and y share a bin
    images = table["columns"][0]["images"]
    # y: .9 against .2 for the true class; x: .4 against .9; then z and w, .1 apart
    assert images["ids"] == ["y", "x", "w", "z"]
    assert images["truth"] == [1, 0, 0, 1]
    packed = list(base64.b64decode(lora["images"]))
    assert packed == [50, 225, 200, 225, 0, 0, 0, 1]  # scores x 250, then classes


def test_thumbnails_come_from_the_source_of_the_same_images(tmp_path):
    dataset = open_dataset("phantom_grading")
    small = thumbnails("phantom_grading", dataset.fingerprint, [*dataset.ids[:2], "nowhere"])
    assert list(small) == list(dataset.ids[:2])
    assert max(Image.open(io.BytesIO(small[dataset.ids[0]])).size) <= 96
    with pytest.raises(InputError, match="are not those of the records"):
        thumbnails("phantom_grading", "0" * 16, dataset.ids[:2])


def test_protocol_and_provenance_name_what_was_run(values):
    about = {section["title"]: dict(section["rows"]) for section in values["about"]}
    assert about["Protocol"]["training seeds"] == "0, 1"
    assert set(about["Data"]) == {"a", "b", HOSTILE}
    assert "no evidence about patients" in about["Data"]["b"]
    assert counted(["x", "y", "y"]) == "y (2 cells), x (1 cells)"


def test_no_name_ends_the_data_or_fills_a_placeholder(values):
    text = html.page(values | {"rule": "{{style}} {{data}} \u2028"}, {f"{HOSTILE}.csv": HOSTILE})
    assert HOSTILE not in text
    assert text.count("</script>") == 3  # of the data, the downloads and the script
    found = data_of(text)
    assert found["rule"] == "{{style}} {{data}} \u2028"
    assert HOSTILE in {c["dataset"] for c in found["tables"][0]["columns"]}


def test_the_page_names_nothing_outside_itself(values):
    page = html.page({**values, "tables": [], "about": []})
    assert not re.findall(r"""(?:src|href)=["']?(?!#|data:,)[\w/.:]""", page)
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page


def test_report_writes_the_page_beside_the_tables(tmp_path):
    make_page_runs(tmp_path)
    made = report(
        [tmp_path], tmp_path / "out", options=Options(formats=("csv", "html"), figures=())
    )
    assert tmp_path / "out" / "report.html" in made.paths
    found = files_of((tmp_path / "out" / "report.html").read_text())
    for name in ("table.csv", "statistics.csv", "citations.bib", "licences.md"):
        assert found[name] == (tmp_path / "out" / name).read_text()


def test_an_unreadable_record_is_told_on_the_page(tmp_path):
    make_page_runs(tmp_path)
    path = sorted(tmp_path.rglob("record.json"))[0]
    path.write_text(path.read_text()[:40])
    report([tmp_path], tmp_path / "out", options=Options(formats=("html",), figures=()))
    (fault,) = data_of((tmp_path / "out" / "report.html").read_text())["faults"]
    assert "is not a whole JSON file" in fault


def test_a_report_without_any_score_is_a_page(tmp_path):
    cell = make_cell(method="lora", dataset="a")
    folder = tmp_path / f"cell-{cell.key}"
    write_json(folder / "cell.json", dataclasses.asdict(cell))
    (folder / "error.txt").write_bytes(b"out of memory: \xff\n\nTraceback ...\n")
    report([tmp_path], tmp_path / "out", options=Options(formats=("html",), figures=()))
    found = data_of((tmp_path / "out" / "report.html").read_text())
    assert found["failures"][0][-1] == "out of memory: \ufffd"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--figures", "pie"], "pie"),
        (["--panels", "-1"], "argument --panels: -1 must be a whole number"),
        (["--format", "htm"], "html"),
        (["--panels", "1", "--source", "a"], "--source 'a' is not NAME=PATH"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path, capsys, flags, said):
    make_page_runs(tmp_path)
    assert main(["report", "--runs", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_thumbnails_take_a_source_without_panels(tmp_path):
    make_page_runs(tmp_path)
    flags = ["--figures", "none", "--format", "html", "--source", "a=nowhere"]
    assert main(["report", "--runs", str(tmp_path), "--out", str(tmp_path / "out"), *flags]) == 0
