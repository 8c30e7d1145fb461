"""What must never be averaged together, and what a table says of its gaps."""

import dataclasses
import json

import pytest
from test_results import make_record
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.core.cell import Cell
from benchmark.core.files import write_json
from benchmark.core.record import write_record
from results import frame, tables
from results.reporting import Options, report
from results.tables import select


def put(runs, test, data=(), **cell):
    made = make_cell(**cell)
    return write_record(made.folder(runs), make_record(made, test, **dict(data)))


def build(runs, metric=None):
    return tables.build(frame.load([runs]), metric)


def shown(table):
    return {(m, c.title): str(score) for (m, c), score in table.scores.items()}


def test_every_field_of_a_cell_is_kept_apart_tuned_or_a_seed():
    known = (*select.GROUP, *select.TUNED, "split_seed", "seed")
    assert sorted(known) == sorted(field.name for field in dataclasses.fields(Cell))


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"weights": "abcdef0123456789"}, "weights abcdef"),
        ({"precision": "bf16"}, "bf16"),
        ({"normalize": "0,0,0/1,1,1"}, "norm 0,0,0/1,1,1"),
    ],
)
def test_other_weights_precision_or_normalization_is_another_table(tmp_path, changes, title):
    put(tmp_path, 0.2)
    put(tmp_path, 0.4, seed=1, **changes)
    found = {table.title: list(shown(table).values()) for table in build(tmp_path)}
    assert found.pop(f"tiny_vit, 56 px, {title}") == ["40.0"]
    ((other, values),) = found.items()
    assert other.startswith("tiny_vit, 56 px, ")
    assert values == ["20.0"]
    assert all("in other tables" in table.caption for table in build(tmp_path))
    made = report([tmp_path], tmp_path / "out")
    figures = [path.name for path in made.paths if path.suffix == ".png"]
    assert len(set(figures)) == len(figures) == 2


def test_one_setting_needs_no_note(tmp_path):
    put(tmp_path, 0.2)
    (table,) = build(tmp_path)
    assert table.title == "tiny_vit, 56 px"
    assert "other tables" not in table.caption


def test_other_data_is_another_column(tmp_path):
    put(tmp_path, 0.2, dataset="busi")
    put(tmp_path, 0.4, dataset="busi", seed=1)
    cell = make_cell(dataset="busi", seed=2)
    cell = dataclasses.replace(cell, data="ffffff9999999999")
    write_record(cell.folder(tmp_path), make_record(cell, 0.8))
    (table,) = build(tmp_path)
    assert list(shown(table).values()) == ["30.0 ± 14.1", "80.0"]
    assert [c.title for c in table.columns] == [
        "busi d0 kappa 100% (100)",
        "busi ffffff kappa 100% (100)",
    ]
    assert "Of busi there are several versions" in table.caption
    assert len({c.title for c in tables.named(table).columns}) == 2


def test_splits_are_averaged_only_where_all_methods_have_the_same(tmp_path):
    for method, split, test in (("a", 0, 0.2), ("a", 1, 0.4), ("b", 0, 0.1), ("b", 1, 0.5)):
        put(tmp_path, test, method=method, split_seed=split)
    (table,) = build(tmp_path)
    assert list(shown(table).values()) == ["30.0 ± 14.1", "30.0 ± 28.3"]
    assert "over seeds and 2 splits" in table.caption
    put(tmp_path, 0.9, method="c", split_seed=1)
    (table,) = build(tmp_path)
    assert [str(table.scores["a", c]) for c in table.columns] == ["20.0", "40.0"]
    assert [str(table.scores["c", c]) for c in table.columns] == ["--", "90.0"]
    assert "not run on the same splits" in table.caption


def test_unequal_tuning_and_seeds_and_gaps_are_said(tmp_path):
    for lr in (1e-4, 1e-3, 1e-2, 1e-1):
        put(tmp_path, 0.5, method="lora(rank=8)", lr=lr, fraction=0.4)
    for seed in (0, 1, 2):
        put(tmp_path, 0.5, method="full", seed=seed, fraction=0.4)
    put(tmp_path, 0.5, method="full", fraction=0.1)
    (table,) = build(tmp_path)
    assert "trials per entry: full 1; lora 4 (not equally tuned)" in table.caption
    assert "runs per entry: full 1 to 3; lora 1 (not equally repeated)" in table.caption
    assert "Missing: lora on phantom_grading 10%, lora on phantom_grading 40% (1 of 3 runs)." in (
        table.caption
    )


def test_runs_of_an_undefined_score_are_not_counted(tmp_path):
    for method, seed in (("full", 0), ("full", 1), ("lora", 0), ("lora", 1)):
        put(tmp_path, None if (method, seed) == ("lora", 1) else 0.5, method=method, seed=seed)
    (table,) = build(tmp_path)
    assert {m: table.scores[m, table.columns[0]].num_seeds for m in ("full", "lora")} == {
        **{"full": 2, "lora": 1},
    }
    assert "runs per entry: full 2; lora 1 (not equally repeated)" in table.caption
    assert "Missing: lora on phantom_grading 100% (1 of 2 runs)." in table.caption


def test_columns_may_differ_as_long_as_methods_do_not(tmp_path):
    for method in ("a", "b"):
        put(tmp_path, 0.5, method=method, fraction=0.1)
        for seed in (0, 1):
            put(tmp_path, 0.5, method=method, fraction=0.4, seed=seed)
    (table,) = build(tmp_path)
    assert "runs per entry: 1 to 2, within a column the same." in table.caption
    assert "Missing" not in table.caption


def test_long_lists_of_gaps_are_counted(tmp_path):
    for number in range(9):
        put(tmp_path, 0.5, method=f"m{number}", fraction=(number + 1) / 10)
    (table,) = build(tmp_path)
    assert "and 67 more." in table.caption  # 9 x 9 - 9 = 72, five are named


def test_a_metric_that_a_task_lacks_is_said_and_the_others_are_shown(tmp_path):
    put(tmp_path, 0.5, dataset="left")
    cell = make_cell(dataset="right")
    record = make_record(cell, 0.5, metric="dice")
    scores = {"dice": 0.7}
    write_record(cell.folder(tmp_path), dataclasses.replace(record, test=scores, val=scores))
    (table,) = build(tmp_path, "kappa")
    assert [c.dataset for c in table.columns] == ["left"]
    assert "right has no kappa: its columns are left out." in table.caption
    assert len(build(tmp_path)[0].columns) == 2


def test_a_cell_that_failed_or_conflicts_is_never_averaged_away(tmp_path):
    put(tmp_path, 0.5)
    cell = make_cell(seed=1)
    write_json(cell.folder(tmp_path) / "cell.json", dataclasses.asdict(cell))
    (cell.folder(tmp_path) / "error.txt").write_text("because\n")
    assert list(shown(build(tmp_path)[0]).values()) == ["failed"]


def broken(runs):
    """Return a folder of one good record and one file of each kind that is not whole."""
    put(runs, 0.5, method="good")
    truncated = put(runs, 0.5, method="truncated")
    truncated.write_text(truncated.read_text()[:99])
    foreign = put(runs, 0.5, method="foreign")
    foreign.write_text(json.dumps({**json.loads(foreign.read_text()), "schema": 7}))
    bare = put(runs, 0.5, method="bare")
    values = json.loads(bare.read_text())
    del values["data"]["labels_used"]
    bare.write_text(json.dumps(values))
    listed = put(runs, 0.5, method="listed")
    listed.write_text("[1, 2]")
    failed = make_cell(method="failed").folder(runs)
    failed.mkdir(parents=True)
    (failed / "error.txt").write_text("because\n")
    (failed / "cell.json").write_text('{"half')
    rescored = put(runs, 0.5, method="rescored")
    rescored.with_name("rescored.json").write_text("{}")
    external = put(runs, 0.5, method="outside").parent / "external"
    external.mkdir()
    (external / "other.json").write_text('{"half')
    half = put(runs, 0.5, method="predicted")
    half.with_name("predictions.npz").write_bytes(b"PK\x03\x04 and no more")


def test_all_that_is_broken_is_one_sentence_each_and_what_is_good_is_reported(tmp_path, capsys):
    broken(tmp_path / "runs")
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["report", *places]) == 1
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("not used: ") for line in lines)
    for name in ("truncated", "foreign", "bare", "listed", "failed", "rescored", "outside"):
        assert sum(f"/{name}/" in line for line in lines) == 1
    for name in ("good", "outside", "predicted"):
        assert f"\n{name} " in output.out
    assert "predictions.npz is not whole" in " ".join(output.out.split())


def test_an_empty_folder_beside_a_good_one(tmp_path, capsys):
    put(tmp_path / "runs", 0.5)
    (tmp_path / "empty").mkdir()
    flags = ["--runs", str(tmp_path / "runs"), "--runs", str(tmp_path / "empty")]
    assert main(["report", *flags, "--out", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "50.0" in output.out
    assert output.err == f"not used: there is no record below '{tmp_path / 'empty'}'\n"
    assert main(["report", "--runs", str(tmp_path / "empty")]) == 2


def test_of_equal_copies_the_richer_one_is_kept(tmp_path):
    put(tmp_path / "a", 0.5)
    path = put(tmp_path / "b", 0.5)
    path.with_name("rescored.json").write_text('{"val": {"ece": 0.1}, "test": {"ece": 0.2}}')
    loaded = frame.load([tmp_path / "a", tmp_path / "b"])
    assert loaded.faults == ()
    assert list(loaded.rows["test_ece"]) == [0.2]
    text = report([tmp_path / "a", tmp_path / "b"], tmp_path, options=Options(metric="ece")).text
    assert "less is better: ece" in text


def test_every_table_says_where_patients_may_be_on_both_sides(tmp_path):
    groups = {
        "busi": ("unknown", "BUSI: which images share a patient is unknown."),
        "drive": ("unknown", "DRIVE: which images share a patient is unknown."),
        "hippo": ("inferred", "MSD Hippocampus: groups (brain) are inferred: by number."),
        "ham": ("given", ""),
        "old": ("", ""),  # a record of before it was noted
    }
    for name, (grouping, note) in groups.items():
        for method, score in (("linear", 0.2), ("lora", 0.3), ("full", 0.4)):
            data = {"grouping": grouping, "group_note": note}
            put(tmp_path, score, data, dataset=name, method=method)
            put(tmp_path, score, data, dataset=name, method=method, lr=0.5)
    told = (
        "BUSI: which images share a patient is unknown. DRIVE: which images share a patient is "
        "unknown. MSD Hippocampus: groups (brain) are inferred: by number."
    )
    (table,) = build(tmp_path)
    assert told in table.caption
    options = Options(ablation="lr", efficiency=True, formats=("markdown",))
    made = report([tmp_path], tmp_path / "out", options=options)
    sheets = [p for p in made.paths if p.suffix == ".md" and p.stem != "licences"]
    assert len(sheets) >= 4  # scores, ranks, costs and the ablation
    for path in sheets:
        assert told in path.read_text(), path


def test_a_table_of_given_groups_needs_no_word_on_them(tmp_path):
    put(tmp_path, 0.2, {"grouping": "given"}, dataset="ham")
    assert "patient" not in build(tmp_path)[0].caption
