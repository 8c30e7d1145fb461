"""`report --rescore`: new scores of old cells, from their stored predictions."""

import numpy as np
import pytest
from test_metrics import classified

from benchmark.__main__ import main
from benchmark.core.record import write_record
from benchmark.scores import Predictions, every_score
from results import frame, tables


def test_old_cells_are_scored_again_without_training(tmp_path, capsys):
    from test_results import make_record
    from test_spec import make_cell

    arrays = {f"{s}_{n}": v for s in ("val", "test") for n, v in classified(7).items()}
    for method in ("linear", "lora"):
        cell = make_cell(method=method)
        facts = {"task": "classification", "classes": ["a", "b", "c"]}
        folder = cell.folder(tmp_path)
        write_record(folder, make_record(cell, 0.25, **facts))
        if method == "linear":
            np.savez(folder / "predictions.npz", **arrays)
    places = ["--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["report", *places, "--rescore", "--metric", "brier"]) == 0
    answer = capsys.readouterr()
    assert "1 cells below" in answer.out
    assert "not scored" in answer.err
    assert "less is better: brier" in answer.out.replace("\n", " ")
    (table,) = tables.build(frame.load([tmp_path]), "brier")
    expected = 100 * every_score(Predictions.of_split(arrays, "abc", "test"))["brier"]
    scores = {m: table.scores[m, table.columns[0]] for m in table.methods}
    assert scores["linear"].mean == pytest.approx(expected)
    assert scores["lora"].reason == "missing"
    kept = frame.load([tmp_path]).rows.set_index("method")["test_kappa"]
    assert kept["linear"] == 0.25  # a record's own scores are never replaced
