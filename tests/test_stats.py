"""Statistics against cases done by hand (3 x 3) and against second implementations."""

import csv
import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_results import make_record
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.commands.run import next_step, num_ties
from benchmark.core.record import write_record
from benchmark.core.registry import InputError
from results import frame, tables
from results.reporting import Options, Report, report
from results.statistics import comparison, ranks, samples, stats, words

CLASSES = ("healthy", "ill", "worse")
ONE = np.eye(3)


def write(runs, right, **cell):
    """Write a cell whose answers are right where `right` (n,) says so; three images a patient."""
    right = np.asarray(right, bool)
    labels = np.arange(len(right)) % 3
    probs = ONE[np.where(right, labels, (labels + 1) % 3)].astype(np.float32)
    made = make_cell(**cell)
    record = make_record(made, 0.5, classes=CLASSES)
    data = replace(record.data, metric="accuracy")
    record = replace(record, data=data, test={"accuracy": float(right.mean())})
    path = write_record(made.folder(runs), record)
    names = np.array([f"patient{i // 3}" for i in range(len(right))])
    np.savez_compressed(
        path.with_name("predictions.npz"), test_groups=names, test_probs=probs, test_labels=labels
    )
    return path


@pytest.fixture
def runs(tmp_path):
    """Two columns of 60 patients: `good` is right on 170 of 180 images, `bad` on 90, `same` = bad.

    `once` has one seed.
    """
    for dataset, seed in itertools.product(("a", "b"), range(3)):
        random = np.random.default_rng(seed)
        good, bad = random.permutation(180) < 170, random.permutation(180) < 90
        for method, right in (("good", good), ("bad", bad), ("same", bad), ("once", bad)):
            if method != "once" or seed == 0:
                write(tmp_path, right, method=method, dataset=dataset, fraction=0.1, seed=seed)
    return tmp_path


def built(runs, against=None):
    loaded = frame.load([runs])
    (found,) = stats.build(tables.build(loaded), [runs], against)
    return found


def test_what_differs_is_separated_and_ties_are_said(runs):
    found = built(runs, "bad")
    verdicts = {(c.method, c.columns[0].dataset): c for c in found.blockwise}
    good = verdicts["good", "a"]
    assert good.difference == pytest.approx(100 * 80 / 180)
    assert 25 < good.interval[0] < good.difference < good.interval[1] < 65
    assert good.verdict == "better"
    assert good.probability > 0.999
    same = verdicts["same", "a"]
    assert (same.difference, same.interval, same.probability) == (0, (0, 0), 0.5)
    assert (same.p, same.verdict) == (1, "tie")
    once = verdicts["once", "a"]
    assert (once.interval, once.p, once.verdict) == (None, None, "n = 1")
    assert once.patients == (0, 0)
    assert [c.dataset for c in found.tied] == ["a", "b"]
    assert set(found.tied.values()) == {("good",)}
    assert found.places == {"good": (1, 2), "bad": (2, 4), "same": (2, 4)}  # `once` may be anywhere


def test_holm_is_over_all_columns_and_methods(runs):
    found = built(runs, "bad")
    p = [c.p for c in found.blockwise if c.p is not None]
    assert len(p) == 4
    assert [c.p_holm for c in found.blockwise if c.p is not None] == ranks.holm(p)


def test_patients_are_resampled_not_images(tmp_path):
    # patients are wholly right or wholly wrong: n = 200 patients, not 600 images
    # binomial deviation 100 * sqrt(.25 / 200) = 3.54 points, of images it would be 2.04
    right = np.repeat(np.arange(200) < 100, 3)
    for method, answers in (("x", right), ("y", np.ones(600))):
        write(tmp_path, answers, method=method, seed=0, dataset="a", fraction=0.1)
    (compared,) = built(tmp_path, "y").blockwise
    low, high = compared.patients
    assert (high - low) / (2 * 1.96) == pytest.approx(3.54, rel=0.08)


def test_the_text_says_it_in_100_columns(runs):
    made = report([runs], runs / "report", options=Options(against="bad"))
    block = made.text[made.text.index("Statistics of") :]
    assert max(map(len, block.splitlines())) <= 100
    assert "Best or tied on a 10%: good; one seed, left out: 1.\n" in block
    # .5 in each of six pairs, times six, and no p is above 1
    assert "none can be: the smallest p is 1)" in " ".join(block.split())
    rows = list(csv.DictReader(io.StringIO((runs / "report" / "statistics.csv").read_text())))
    assert len(rows) == 6 + 6  # three methods against `bad` in two columns; six pairs
    (row,) = (r for r in rows if (r["dataset"], r["method"]) == ("a", "good"))
    assert float(row["difference"]) == pytest.approx(44.44, abs=0.01)
    assert row["verdict"] == "better"


def test_one_seed_is_told_in_one_sentence(tmp_path):
    for method in ("x", "y"):
        write(tmp_path, np.ones(9), method=method, dataset="a")
    text = " ".join(report([tmp_path], tmp_path / "report").text.split())
    assert "n = 1: no interval; --seeds 0,1,2 gives each cell three seeds." in text


def test_predictions_of_another_run_are_named_and_left_out(runs):
    path = sorted(runs.rglob("predictions.npz"))[0]
    other = next(p for p in sorted(runs.rglob("predictions.npz")) if "good" in str(p))
    path.write_bytes(other.read_bytes())
    found = built(runs)
    (note,) = found.notes
    assert note.startswith(f"{path} gives accuracy 94.44, its record 50.00; ")
    wrong = next(c for c in found.blockwise if c.patients is None)
    assert wrong.method == path.parent.parent.name


def test_without_predictions_seeds_alone_give_the_interval(runs):
    before = next(c for c in built(runs, "bad").blockwise if c.method == "good")
    for path in runs.rglob("predictions.npz"):
        path.unlink()
    after = next(c for c in built(runs, "bad").blockwise if c.method == "good")
    assert after.patients is None
    assert after.difference == before.difference
    assert after.interval[1] - after.interval[0] < before.interval[1] - before.interval[0]
    told = words.sheet(built(runs, "bad")).note
    assert "P(better) from the scatter of seeds alone (paired)" in told


def test_one_test_group_has_no_patients_to_resample(tmp_path):
    for method, shift in (("x", 0), ("y", 1)):
        for seed in range(3):
            write(
                tmp_path, np.arange(3) <= (seed + shift) % 3, method=method, dataset="a", seed=seed
            )
    found = built(tmp_path, "y")
    (compared,) = found.blockwise
    assert (compared.patients, compared.interval is None) == (None, False)
    told = "a 100% is tested on one group, so its intervals are over seeds alone"
    assert found.notes == (told,)


def test_the_compared_method_must_be_there(runs, capsys):
    with pytest.raises(InputError, match="unknown method in these records 'goood'; did you mean"):
        built(runs, "goood")
    assert main(["report", "--runs", str(runs), "--against", "nobody"]) == 2
    assert "known: bad, good, once, same" in capsys.readouterr().err


def test_a_comparison_turned_round_says_the_same():
    one = comparison.Comparison("a", "b", (), 3.0, 3, (1.0, 6.0), (2.0, 4.0), 0.9, 0.01, 0.02)
    turned = one.flipped()
    assert (turned.difference, turned.interval, turned.patients) == (-3, (-6, -1), (-4, -2))
    assert (turned.probability, turned.verdict) == (pytest.approx(0.1), "worse")
    assert turned.flipped().difference == one.difference


def test_too_many_cells_are_told(runs, monkeypatch):
    monkeypatch.setattr(samples, "MOST_CELLS", 19)  # there are 20
    found = built(runs, "bad")
    assert found.notes[0].startswith("the patients of 20 cells are too many to resample")
    assert all(c.patients is None for c in found.blockwise)
    assert found.blockwise[0].interval is not None


def test_less_is_better_turns_everything_round(tmp_path):
    # Brier .1, .1, .2 of `low` against .4, .4, .5 of `high`: low is better by 30 points
    for method, scores in (("low", (0.1, 0.1, 0.2)), ("high", (0.4, 0.4, 0.5))):
        for dataset, (seed, score) in itertools.product("ab", enumerate(scores)):
            made = make_cell(method=method, seed=seed, dataset=dataset)
            record = make_record(made, 0.5, metric="brier", classes=CLASSES)
            for scored in (record.val, record.test):
                scored["brier"] = score
            write_record(made.folder(tmp_path), record)
    found = built(tmp_path, "high")
    for compared in found.blockwise:
        assert compared.difference == pytest.approx(-30)
        assert compared.probability == pytest.approx(1)
        assert compared.verdict == "better"
    assert dict(zip(found.ranking.methods, found.ranking.ranks, strict=True)) == {
        "low": 1,
        "high": 2,
    }
    assert found.places["low"] == (1, 1)
    assert set(found.tied.values()) == {("low",)}
    (overall,) = found.overall
    assert (overall.method, overall.gain > 0) == ("high", False)
    assert overall.probability < 1e-9


def test_lengths_are_not_multiplied_and_shots_are_columns_of_their_own(tmp_path):
    for method, shots, (seed, score) in itertools.product(
        ("x", "y"), (1, 5), enumerate((7.0, 8.0, 9.0))
    ):
        made = make_cell(method=method, seed=seed, shots=shots, dataset="a")
        record = make_record(made, 0.5, metric="hd95_mm")
        for scored in (record.val, record.test):
            scored["hd95_mm"] = score * shots + (method == "y")
        write_record(made.folder(tmp_path), record)
    found = built(tmp_path, "x")
    assert [(c.columns[0].share, c.difference) for c in found.blockwise] == [
        ("1-shot", pytest.approx(1)),
        ("5-shot", pytest.approx(1)),
    ]
    assert found.ranking.num_blocks == 2


def test_the_next_step_after_a_run_counts_ties():
    runs = Path("runs")

    def step(verdicts, seeds=(0, 1), state="done"):
        statistics = pd.DataFrame({"test": ["t", "t", "Wilcoxon"], "verdict": verdicts})
        made = Report("", (), (), tables={"statistics": statistics})
        results = pd.DataFrame({"seed": seeds, "state": state})
        return next_step(results, runs, num_ties(made))

    assert step(["tie", "better", "tie"]).endswith(
        "--plan-seeds 2  # 1 tie: tells how many seeds see 2 points"
    )
    assert "# 2 ties" in step(["tie", "tie", "tie"])
    assert "--paper" in step(["better", "worse", "tie"])
    assert "--seeds 0,1,2" in step(["tie"] * 3, seeds=(0, 0))
    assert "status" in step(["tie"] * 3, state="failed")
    assert num_ties(Report("", (), ())) == 0
