"""The authors' habits beside this protocol: first files as labels, one seed, choice on test."""

import json

import numpy as np
import pytest
from test_guards import put
from test_run import flags, made  # noqa: F401 - a fixture

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from benchmark.data import open_dataset
from benchmark.data.split import split
from results import frame
from results.papers import protocols


def test_the_first_files_of_each_class_are_taken_and_nothing_else_changes():
    dataset = open_dataset("phantom_grading")
    drawn = split(dataset, 0.2, 0)
    first = split(dataset, 0.2, 0, subset="first")
    assert np.array_equal(first.val, drawn.val)
    assert np.array_equal(first.test, drawn.test)
    pool = np.sort(split(dataset, 1.0, 0).train)
    for label in range(len(dataset.card.classes)):
        own = [row for row in pool if dataset.labels[row] == label]
        taken = [row for row in first.train if dataset.labels[row] == label]
        assert taken == own[: max(1, round(0.2 * len(own)))]
    other = split(dataset, 0.2, 0, subset="first")
    assert np.array_equal(first.train, other.train)
    assert not np.array_equal(np.sort(drawn.train), first.train)
    shown = split(dataset, 1.0, 0, shots=2, subset="first").train
    assert np.bincount(dataset.labels[shown]).tolist() == [2] * len(dataset.card.classes)
    with pytest.raises(InputError, match="unknown subset 'last'; known: drawn, first"):
        split(dataset, 0.2, 0, subset="last")


def test_masks_are_taken_in_their_order():
    dataset = open_dataset("phantom_lesions")
    pool = np.sort(split(dataset, 1.0, 0).train)
    first = split(dataset, 0.3, 0, subset="first").train
    assert first.tolist() == pool[: round(0.3 * len(pool))].tolist()


def test_one_command_sets_both_protocols_side_by_side(made, tmp_path, capsys):  # noqa: F811
    common = {"fractions": "0.5", "methods": "full,dvpt(prompts=4,bottleneck=4)", "steps": "4"}
    assert main(flags(made, tmp_path, seeds="0,1", **common)) == 0
    assert main([*flags(made, tmp_path, subset="first", **common), "--peek"]) == 0
    capsys.readouterr()
    assert main(["compare", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "Protocols on tiny_vit" in shown
    assert "change one habit each" in " ".join(shown.split())
    assert (tmp_path / "out" / "protocols.md").exists()
    (sheet,) = protocols.sheets(frame.load([tmp_path]))
    assert len(sheet.data) == 2


def test_each_habit_is_a_column(tmp_path):
    for seed, test in ((1, 0.5), (2, 0.7)):
        put(tmp_path, test, seed=seed, method="dvpt", dataset="a")
    folder = put(tmp_path, 0.6, seed=1, method="dvpt", dataset="a", subset="first").parent
    (sheet,) = protocols.sheets(frame.load([tmp_path]))
    row = sheet.data.iloc[0]
    shown = [str(row[name]) for name in (protocols.OURS, protocols.ONE, protocols.FIRST)]
    assert shown == ["60.0 ± 14.1", "50.0", "60.0"]
    assert str(row[protocols.AUTHORS]) == "no --peek"
    key = json.loads((folder / "record.json").read_text())["key"]
    steps = [{"step": s, "test": {"kappa": v}} for s, v in ((1, 0.6), (2, 0.75))]
    peeked = {"key": key, "metric": "kappa", "steps": steps, "selected": 0.6}
    (folder / "peek.json").write_text(json.dumps(peeked))
    (sheet,) = protocols.sheets(frame.load([tmp_path]))
    row = sheet.data.iloc[0]
    assert (str(row[protocols.AUTHORS]), row["gain"]) == ("75.0", "+15.0")


def test_without_the_other_protocol_there_is_nothing_to_set_beside(tmp_path):
    put(tmp_path, 0.5, method="dvpt")
    loaded = frame.load([tmp_path])
    assert protocols.sheets(loaded) == []
    put(tmp_path, 0.5, method="full", subset="first")
    assert protocols.sheets(frame.load([tmp_path])) == []
