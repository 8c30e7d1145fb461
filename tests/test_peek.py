import json
from itertools import product

import pytest
from test_guards import put
from test_run import flags, made  # noqa: F401 - a fixture

from benchmark.__main__ import main
from results import frame, tables
from results.tables import external, peek


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_peeking_changes_no_number_and_measures_the_gap(made, tmp_path, capsys, executor):  # noqa: F811
    plain, peeked = tmp_path / "plain", tmp_path / "peeked"
    changes = {"evaluations": "3", "methods": "lora(rank=4)", "fractions": "1.0"}
    peeking = ["--peek", "--executor", executor, *(["--jobs", "1"] if executor == "local" else [])]
    assert main([*flags(made, peeked, **changes), *peeking]) == 0
    printed = capsys.readouterr().out
    assert main(flags(made, plain, **changes)) == 0  # the flag is over with its command
    assert "Peek gap" not in capsys.readouterr().out
    assert not list(plain.rglob("peek*"))
    (first,), (second,) = (list(folder.rglob("record.json")) for folder in (plain, peeked))
    assert first.relative_to(plain) == second.relative_to(peeked)
    records = [json.loads(path.read_text()) for path in (first, second)]
    for part in ("val", "test", "history", "selected_step"):
        assert records[0][part] == records[1][part]
    found = json.loads(second.with_name("peek.json").read_text())
    assert [point["step"] for point in found["steps"]] == [2, 4, 6]
    chosen = {p["step"]: p["test"] for p in found["steps"]}[records[0]["selected_step"]]
    assert chosen.items() <= records[0]["test"].items()
    assert not (second.parent / "peek").exists()  # the states are gone
    assert "Peek gap" in printed
    row = peek.gap(found)
    best = max(p["test"]["balanced_accuracy"] for p in found["steps"])
    assert row["best on test"] == pytest.approx(best)
    assert row["gap"] == pytest.approx(best - records[0]["test"]["balanced_accuracy"])


def test_the_gap_is_never_negative_where_less_is_better():
    steps = [{"step": s, "test": {"hd95_mm": v}} for s, v in ((1, 5.0), (2, 3.0), (3, None))]
    found = {"metric": "hd95_mm", "steps": steps, "selected": 5.0}
    assert peek.gap(found) == {"selected": 5.0, "best on test": 3.0, "gap": 2.0}


def test_only_runs_are_averaged(tmp_path):
    """Two settings of one method on two backbones: four rows, not one."""
    for method, backbone, seed in product(("m(a=1)", "m(a=2)"), ("one", "two"), (0, 1)):
        folder = put(tmp_path, 0.5, method=method, backbone=backbone, seed=seed).parent
        key = json.loads((folder / "record.json").read_text())["key"]
        steps = [{"step": 1, "test": {"kappa": 0.5 + 0.1 * (seed + 1)}}]
        found = {"key": key, "metric": "kappa", "steps": steps, "selected": 0.5}
        (folder / "peek.json").write_text(json.dumps(found))
        (folder / "external").mkdir()
        outside = {"key": key, "metric": "kappa", "test": {"kappa": 0.2 + seed / 5}}
        text = json.dumps(outside | {"dataset": "other", "images": 7})
        (folder / "external" / "other.json").write_text(text)
        (folder / "external" / "half.json").write_text('{"key": "k", "half')
    built = tables.build(frame.load([tmp_path]))
    for sheets, column in ((peek.build(built, []), "gap"), (external.build(built, []), "external")):
        assert len(sheets) == 2  # a table per backbone
        for sheet in sheets:
            assert sheet.data["method"].tolist() == ["m(a=1)", "m(a=2)"]
            scores = sheet.data[column]
            assert [s.num_seeds for s in scores] == [2, 2]
            assert [(s.mean, s.spread) for s in scores] == [
                (pytest.approx(15 if column == "gap" else 30), pytest.approx(s.spread))
                for s in scores
            ]
    assert sheets[0].frame()["external sd"].tolist() == pytest.approx([20 / 2**0.5] * 2)
