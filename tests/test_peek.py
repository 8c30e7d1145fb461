import json

import pytest
from test_run import flags, made  # noqa: F401 - a fixture

from benchmark.__main__ import main
from results.tables import peek


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_peeking_changes_no_number_and_measures_the_gap(made, tmp_path, capsys, executor):  # noqa: F811
    plain, peeked = tmp_path / "plain", tmp_path / "peeked"
    changes = {"evaluations": "3", "methods": "lora(rank=4)", "fractions": "1.0"}
    peeking = ["--peek", "--executor", executor, "--jobs", "1"]
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
    key = records[0]["key"]
    (row,) = peek.load([peeked], {key}).to_dict("records")
    best = 100 * max(p["test"]["balanced_accuracy"] for p in found["steps"])
    assert row["best on test"] == pytest.approx(best)
    assert row["gap"] == pytest.approx(best - 100 * records[0]["test"]["balanced_accuracy"])
    assert peek.load([peeked], {"another"}).empty


def test_the_gap_is_never_negative_where_less_is_better(tmp_path):
    steps = [{"step": s, "test": {"hd95_mm": v}} for s, v in ((1, 5.0), (2, 3.0), (3, None))]
    found = {"key": "k", "dataset": "d", "method": "m(a=1)", "metric": "hd95_mm", "steps": steps}
    (tmp_path / "peek.json").write_text(json.dumps(found | {"selected": 5.0, "selected_step": 1}))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "peek.json").write_text('{"key": "k", "half')
    (row,) = peek.load([tmp_path], {"k"}).to_dict("records")
    assert (row["selected"], row["best on test"], row["gap"]) == (5.0, 3.0, 2.0)
    assert "Mean gap: 2.00 points" in peek.text([tmp_path], {"k"})
