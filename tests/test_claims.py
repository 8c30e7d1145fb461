"""A paper's claims as computed quantities: by hand, every verdict, and the command."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
from test_results import make_record
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.core.record import write_record
from benchmark.core.registry import InputError
from results.papers import curve, findings, papers, report

GRADES = {"task": "classification", "ordinal": True, "classes": ("none", "mild", "severe")}
DVPT = "dvpt(bottleneck=20,prompts=50,share=1,merge=auto,attention=True)"


def write(runs, scores, cost=None, data=None, provenance=None, **cell):
    """Write one cell per score (kappa x 100), a seed each."""
    for seed, score in enumerate(scores):
        made = make_cell(seed=seed, **{"dataset": "fundus", **cell})
        record = make_record(made, score / 100, **{**GRADES, **(data or {})})
        record = replace(record, cost=replace(record.cost, **(cost or {})))
        record.provenance.update(provenance or {})
        write_record(made.folder(runs), record)


def found(runs, quantity, **named):
    """Return the rows of claims.csv on one quantity, with these values."""
    report.compare([runs], runs / "report", "dvpt")
    text = next(c.text for c in papers.read("dvpt").claims if c.quantity == quantity)
    with (runs / "report" / "claims.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["claim"] == text]
    return [row for row in rows if named.items() <= row.items()]


def needed(labels, scores, target):
    answer = curve.share_needed(
        np.array(labels, float), np.array([scores], float), np.array([target])
    )
    return answer[0]


def test_labels_needed_by_hand():
    # straight in log(labels): half of the way from 10 to 1000 labels is 100
    assert needed([10, 1000], [0, 10], 5) == pytest.approx(100)
    assert needed([10, 1000], [0, 10], 10) == pytest.approx(1000)
    assert needed([10, 1000], [7, 10], 5) == pytest.approx(10)  # fewer than 10 were not tried
    assert np.isnan(needed([10, 1000], [0, 4], 5))
    assert needed([1, 10, 100], [0, 6, 3], 3) == pytest.approx(10**0.5)  # the first crossing
    assert needed([1, 10, 100], [4, 2, 8], 5) == pytest.approx(10**1.5)


def test_labels_needed_against_interpolation():
    random = np.random.default_rng(0)
    labels = np.array([30.0, 70.0, 200.0, 900.0])
    scores = np.sort(random.random((50, 4)), axis=1)
    target = scores[:, 0] + random.random(50) * (scores[:, -1] - scores[:, 0])
    expected = [
        np.exp(np.interp(t, s, np.log(labels))) for s, t in zip(scores, target, strict=True)
    ]
    assert curve.share_needed(labels, scores, target) == pytest.approx(np.array(expected))


def test_labels_saved_from_records(tmp_path):
    # DVPT 40 at 10 %, 60 at 40 %; full 50 with all: reached at sqrt(10 * 40) = 20 of 100 labels
    for method, fraction, score in ((DVPT, 0.1, 40), (DVPT, 0.4, 60), ("full", 1.0, 50)):
        write(tmp_path, [score] * 3, method=method, fraction=fraction)
    (row,) = found(tmp_path, "labels_saved")
    assert float(row["value"]) == pytest.approx(80)
    assert float(row["low"]) == pytest.approx(80)
    assert (row["measured"], row["verdict"]) == ("80 % [80, 80]", "reproduced")
    assert row["reason"].endswith("full with all labels: 50.0")


def test_labels_saved_is_bounded_by_what_was_tried(tmp_path):
    for method, fraction, score in ((DVPT, 0.1, 70), (DVPT, 0.4, 80), ("full", 1.0, 50)):
        write(tmp_path, [score] * 2, method=method, fraction=fraction)
        write(tmp_path, [100 - score] * 2, method=method, fraction=fraction, dataset="other")
    high, never = found(tmp_path, "labels_saved")
    assert high["measured"] == ">= 90 % [>= 90, >= 90]"
    assert (never["measured"], never["verdict"]) == (
        "not reached [not reached, not reached]",
        "not reproduced",
    )


def test_labels_saved_without_the_reference_or_a_curve(tmp_path):
    write(tmp_path, [50, 50], method=DVPT, fraction=0.1)
    write(tmp_path, [50, 50], method="full", fraction=0.4)
    (row,) = found(tmp_path, "labels_saved")
    assert row["verdict"] == "not comparable"
    assert row["reason"] == "needs full with all labels and two fractions of dvpt"


@pytest.mark.parametrize(
    ("value", "span", "verdict", "reason"),
    [
        (5, (1, 9), "reproduced", "2.2 or more"),
        (1, (-3, 2), "not reproduced", "the interval ends below 2.2"),
        (-5, (-9, -1), "not reproduced", "the interval ends below 2.2"),
        (3, (-1, 7), "not reproduced", "undecided: the interval holds 0 and 2.2"),
        (1.5, (0.5, 2.5), "not reproduced", "undecided: above 0, but 2.2 only within"),
    ],
)
def test_verdicts_of_a_difference(value, span, verdict, reason):
    got = findings._above(value, span, 2.2)
    assert got[0] == verdict
    assert got[1].startswith(reason)


def test_kappa_gain_with_its_interval(tmp_path):
    # 61, 62, 63 against 50, 50, 50: 12 +- 4.303 / sqrt 3 = 9.5 to 14.5
    write(tmp_path, [61, 62, 63], method=DVPT)
    write(tmp_path, [50, 50, 50], method="full")
    (row,) = found(tmp_path, "kappa_gain")
    assert float(row["value"]) == pytest.approx(12)
    assert [float(row["low"]), float(row["high"])] == pytest.approx([9.5, 14.5], abs=0.3)
    assert (row["data"], row["verdict"]) == ("fundus 100%", "reproduced")


@pytest.mark.parametrize(
    ("data", "cell", "scores", "reason"),
    [
        ({"synthetic": True}, {}, [60, 60], "the data is synthetic"),
        ({"ordinal": False}, {}, [60, 60], "its classes have no order for kappa"),
        ({}, {"fraction": 0.4}, [60, 60], "only 40% of the labels, not all"),
        ({}, {}, [60], "n = 1: no interval"),
    ],
)
def test_what_is_no_evidence_for_the_kappa_gain(tmp_path, data, cell, scores, reason):
    write(tmp_path, scores, data=data, method=DVPT, **cell)
    write(tmp_path, [50] * len(scores), data=data, method="full", **cell)
    (row,) = found(tmp_path, "kappa_gain")
    assert (row["verdict"], row["reason"]) == ("not comparable", reason)
    assert float(row["value"]) == pytest.approx(10)  # told all the same


def test_two_classes_have_an_order(tmp_path):
    data = {"ordinal": False, "classes": ("benign", "malignant")}
    write(tmp_path, [60, 60], data=data, method=DVPT)
    write(tmp_path, [50, 50], data=data, method="full")
    assert found(tmp_path, "kappa_gain")[0]["verdict"] == "reproduced"


def test_shares_are_of_a_named_backbone(tmp_path):
    # the closed form on ViT-B/16 without head; bytes of a delta with its header
    vit_b = {
        "trainable_params": 416_508,
        "backbone_params": 85_798_656,
        "delta_bytes": 1_690_000,
        "full_bytes": 343_200_000,
    }
    write(tmp_path, [50], cost=vit_b, method=DVPT, backbone="vit_b16_clip")
    write(tmp_path, [50], cost=vit_b, method="dvpt_released(share=3)", backbone="vit_s14_imgfocus")
    near, far = found(tmp_path, "parameter_share")
    assert (near["measured"], near["verdict"]) == ("0.49 %", "reproduced")
    assert far["verdict"] == "not comparable"
    assert far["reason"] == "the published share is of vit_b16, this of vit_s14_imgfocus"
    near, far = found(tmp_path, "storage_saved")
    assert (near["measured"], near["verdict"]) == ("99.51 %", "reproduced")
    assert far["verdict"] == "not comparable"


def test_better_than_the_other_methods(tmp_path):
    scores = {DVPT: 60, "full": 90, "linear": 90, "knn(k=5)": 40, "lora(rank=8)": 50, "ssf": 50}
    for dataset, (method, score) in itertools.product(("won", "tied", "lost"), scores.items()):
        shift = {"won": 0, "tied": 10, "lost": 20}[dataset] * (method == "ssf")
        write(tmp_path, [score + shift] * 3, method=method, dataset=dataset)
    rows = {row["data"]: row for row in found(tmp_path, "against_peft")}
    assert rows["won 100%"]["measured"] == "better than 2, tied 0, worse than 0"
    assert rows["won 100%"]["verdict"] == "reproduced"  # full, linear and knn are no rivals
    assert rows["tied 100%"]["measured"] == "better than 1, tied 1, worse than 0"
    assert rows["tied 100%"]["reason"].startswith("undecided: ties")
    assert rows["lost 100%"]["measured"] == "better than 1, tied 0, worse than 1"
    assert rows["lost 100%"]["verdict"] == "not reproduced"


def test_the_command_shows_claims_and_protocol(tmp_path, capsys, monkeypatch):
    write(tmp_path, [61, 62, 63], method=DVPT)
    write(tmp_path, [50, 50, 50], method="full")
    monkeypatch.chdir(tmp_path)  # a line that names a folder is as long as the folder's name
    flags = ["--runs", ".", "--out", "report"]
    assert main(["compare", "--paper", "dvpt", *flags]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if not line.startswith("wrote")) <= 100
    assert "3. Kappa above full fine-tuning: published over 2.20 points" in out
    two = out[out.index("2. better than") : out.index("3. Kappa")]
    assert "not comparable no record bears on it" in " ".join(two.split())
    assert "mean of prompts and CLS for DVPT" in out
    written = (tmp_path / "report" / "claims.md").read_text()
    assert "| not comparable | no record bears on it" in written


def test_bad_input_is_told_in_one_sentence(tmp_path, capsys):
    write(tmp_path, [50], method="full")
    assert main(["compare", "--runs", str(tmp_path), "--paper", "dvtp"]) == 2
    assert "unknown paper 'dvtp'; did you mean 'dvpt'?" in capsys.readouterr().err
    assert main(["compare", "--runs", str(tmp_path)]) == 2
    assert "no finished cell of dvpt or dvpt_released below" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_published_numbers_are_whole():
    assert {"dvpt", "fpt", "ept", "osu", "medfm"} <= set(papers.names())
    for name in papers.names():
        paper = papers.read(name)
        assert all((paper.title, paper.citation, paper.source)), name
        assert paper.claims or (paper.protocol and paper.numbers), name
        assert all(0 < n.value <= 100 for n in paper.numbers), name
        assert {c.quantity for c in paper.claims} <= set(findings.QUANTITIES), name
    with pytest.raises(InputError, match="unknown paper"):
        papers.read("../dvpt")


def test_published_numbers_stand_beside_matching_cells_only(tmp_path):
    same = {"dataset": "pcam", "backbone": "vit_b16_in21k", "image_size": 224}
    labels = {"labels_used": 1000}
    write(tmp_path, [50, 50], data=labels, method="lora(rank=8)", **same)
    write(tmp_path, [50, 50], data={"labels_used": 900}, method="ssf", **same)
    write(tmp_path, [50, 50], data=labels, method="full", **{**same, "image_size": 56})
    write(tmp_path, [50, 50], data=labels, method="norm", **{**same, "backbone": "vit_b16_mae"})
    text = report.compare([tmp_path], tmp_path / "report", "osu").text
    rows = [line.split() for line in text.splitlines() if " pcam " in line]
    shown = {row[0]: " ".join(row[6:]) for row in rows}
    assert shown["lora"] == "50.0 ± 0.0"  # accuracy, which the records have as .5
    assert {shown[m] for m in ("ssf", "full", "norm")} == {"no such cell"}
    assert " 86.80 " in next(line for line in text.splitlines() if line.startswith("lora"))
