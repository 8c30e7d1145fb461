"""What records say against themselves: trained too short, chosen on too little, at an edge."""

import dataclasses
import math

import pandas as pd
import pytest
from test_results import make_record
from test_spec import make_cell

from benchmark.core.record import write_record
from results import frame, tables
from results.reporting import report
from results.tables import regime
from results.tables.sheet import RISING


def put(runs, history, *, selected=None, steps_done=0, num_val=100, costs=None, **cell):
    """Write a record whose kappa on validation was `history`, at evenly spaced steps."""
    made = make_cell(**cell)
    done = steps_done or made.steps
    steps = [round(done * (i + 1) / len(history)) for i in range(len(history))]
    points = [{"step": s, "val_kappa": v} for s, v in zip(steps, history, strict=True)]
    best = max(range(len(history)), key=lambda i: (history[i], -i))
    record = make_record(made, 0.5, max(history), task="classification")
    record = dataclasses.replace(
        record,
        data=dataclasses.replace(record.data, val=num_val),
        history=points,
        selected_step=steps[best] if selected is None else selected,
        cost=dataclasses.replace(record.cost, steps_done=done, **(costs or {})),
    )
    write_record(made.folder(runs), record)


def rising(runs):
    (table,) = tables.build(frame.load([runs]))
    found = {method for methods in table.rising.values() for method in methods}
    return found, table


@pytest.mark.parametrize(
    ("history", "is_rising"),
    [
        ([0.1, 0.2, 0.3, 0.4], True),  # the last step is the best
        ([0.1, 0.4, 0.4, 0.4], False),
        ([0.1, 0.5, 0.2, 0.4], True),  # .2 in the last quarter, of noise sqrt(.5 * .5 / 100)
        ([0.1, 0.5, 0.4, 0.44], False),  # .04 is within it
    ],
)
def test_one_run_still_rises(tmp_path, history, is_rising):
    put(tmp_path, history, method="lora")
    found, table = rising(tmp_path)
    assert (found == {"lora"}) == is_rising
    (column,) = table.columns
    assert (RISING in tables.marks(table, column)["lora"]) == is_rising
    assert ("Still rising (↑)" in table.caption) == is_rising


@pytest.mark.parametrize(
    ("gains", "is_rising"),
    [
        ((0.01, 0.01, 0.01), True),  # however small: all seeds say so
        ((0.05, -0.05, 0.0), False),
        # mean .02; standard error .02 / sqrt(3) = .0115, then .06 / sqrt(3) = .035
        ((0.0, 0.02, 0.04), True),
        ((-0.04, 0.02, 0.08), False),
    ],
)
def test_runs_still_rise_beyond_their_standard_error(tmp_path, gains, is_rising):
    for seed, gain in enumerate(gains):
        put(tmp_path, [0.9, 0.5, 0.4, 0.4 + gain], seed=seed, method="lora")
    assert (rising(tmp_path)[0] == {"lora"}) == is_rising


def test_most_runs_must_have_chosen_the_last_step(tmp_path):
    for seed, last in enumerate((0.9, 0.1, 0.1)):  # the gains are within their noise
        put(tmp_path / "some", [0.1, 0.5, 0.5, last], seed=seed)
        put(tmp_path / "most", [0.1, 0.5, 0.5, last], seed=seed)
        put(tmp_path / "most", [0.1, 0.5, 0.51, 0.91], seed=seed + 3)
    assert not rising(tmp_path / "some")[0]
    assert rising(tmp_path / "most")[0]


def test_until_converged_only_the_maximum_says_that_it_was_too_short(tmp_path):
    axes = {"patience": 2, "steps": 100, "evaluations": 10}
    # the end is the best by design, where the rate falls
    put(tmp_path / "ended", [0.1, 0.2, 0.3, 0.4], steps_done=60, **axes)
    put(tmp_path / "stopped", [0.1, 0.2, 0.3, 0.4], steps_done=100, **axes)
    found, table = rising(tmp_path / "ended")
    assert not found
    assert "until 2 evaluations in a row were no better" in table.caption
    assert "at most 100 steps; 60 were done" in table.caption
    assert rising(tmp_path / "stopped")[0]


def test_what_is_not_trained_in_steps_does_not_rise(tmp_path):
    put(tmp_path, [0.5], method="knn")
    assert not rising(tmp_path)[0]


def test_equal_steps_and_until_converged_are_two_tables(tmp_path):
    put(tmp_path, [0.5, 0.4])
    put(tmp_path, [0.5, 0.4], patience=2, evaluations=10, steps=100)
    first, second = tables.build(frame.load([tmp_path]))
    assert first.title == "tiny_vit, 56 px, equal steps"
    assert second.title == "tiny_vit, 56 px, until converged (2)"
    assert first.stem != second.stem
    assert len(first.of(frame.load([tmp_path]).rows)) == 1


def test_the_report_counts_and_marks_what_rises(tmp_path):
    for method, history in (("lora", [0.1, 0.9]), ("full", [0.9, 0.1])):
        for seed in (0, 1):
            put(tmp_path, history, method=method, seed=seed)
    made = report([tmp_path], tmp_path / "out")
    assert "1 of 2 entries (lora on phantom_grading 100%)" in " ".join(made.text.split())
    assert "↑ validation still rising when training ended" in " ".join(made.text.split())
    marks = made.tables["scores"].set_index("method")["marks"]
    assert RISING in marks["lora"]
    assert RISING not in marks["full"]
    assert r"$^{\uparrow}$" in (tmp_path / "out" / "table.tex").read_text()


def test_a_small_validation_set_is_named_with_its_standard_error(tmp_path):
    put(tmp_path, [0.5, 0.8], num_val=16)  # sqrt(.8 * .2 / 16) = .1
    (table,) = tables.build(frame.load([tmp_path]))
    assert "score on them: phantom_grading 100%: 16 images, 10 points." in table.caption
    put(tmp_path / "large", [0.5, 0.8], num_val=100)
    (table,) = tables.build(frame.load([tmp_path / "large"]))
    assert "validation sets" not in table.caption


def test_a_rate_at_the_edge_of_those_tried_is_named(tmp_path):
    for rate, val in ((1e-4, 0.1), (1e-3, 0.5), (1e-2, 0.6)):
        put(tmp_path, [val, val - 0.05], lr=rate, method="lora")
        put(tmp_path, [0.7 - val, 0.1], lr=rate, method="full")
        put(tmp_path, [0.5 if rate == 1e-3 else 0.1, 0.0], lr=rate, method="linear")
    put(tmp_path, [0.5, 0.1], lr=1e-3, method="norm")  # one rate is no range
    (table,) = tables.build(frame.load([tmp_path]))
    assert "lora on phantom_grading 100% lr 0.01, the highest of 3" in table.caption
    assert "full on phantom_grading 100% lr 0.0001, the lowest of 3" in table.caption
    assert "linear on" not in table.caption
    assert "norm on" not in table.caption


def test_more_prompts_than_image_tokens_are_named(tmp_path):
    many = {"image_tokens": 16, "inserted_tokens": 50}
    put(tmp_path, [0.5, 0.4], method="vpt_deep(prompts=50)", costs=many)
    put(tmp_path, [0.5, 0.4], method="vpt_shallow", costs={**many, "inserted_tokens": 10})
    (table,) = tables.build(frame.load([tmp_path]))
    assert "More inserted tokens than image tokens: vpt_deep 50 beside 16." in table.caption


def test_nothing_is_known_of_the_scores_of_others(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("method,dataset,seed,metric,score\nlora,a,0,auc,0.9\nlora,a,1,auc,0.8\n")
    (table,) = tables.build(frame.load([path]))
    assert not any(table.rising.values())
    assert not any(word in table.caption for word in ("rising", "edge", "Small", "tokens"))


def test_the_noise_of_a_share_is_that_of_as_many_images():
    runs = pd.DataFrame({"metric": ["auc"], "val_auc": [0.75], "num_val": [12]})
    assert regime._error(runs) == pytest.approx(math.sqrt(0.75 * 0.25 / 12))
    assert regime._error(runs.assign(metric="hd95_mm", val_hd95_mm=3.0)) == math.inf
