"""Statistics against cases done by hand (3 x 3) and against second implementations."""

import csv
import io
import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from test_results import make_record
from test_spec import make_cell

from benchmark import metrics
from benchmark.__main__ import main
from benchmark.record import write_record
from benchmark.registry import InputError
from results import Options, comparison, frame, predictions, ranks, report, stats, tables
from results.resample import Sample, interval, probability, replicates, resample

CLASSES = ("healthy", "ill", "worse")
ONE = np.eye(3)


def write(runs, right, **cell):
    """Write a cell whose answers are right where `right` (n,) says so; three images a patient."""
    right = np.asarray(right, bool)
    labels = np.arange(len(right)) % 3
    probs = ONE[np.where(right, labels, (labels + 1) % 3)].astype(np.float32)
    made = make_cell(**cell)
    record = make_record(made, 0.5, classes=CLASSES)
    record = type(record)(
        **{
            **vars(record),
            "data": {**record.data, "metric": "accuracy"},
            "test": {"accuracy": float(right.mean())},
        }
    )
    path = write_record(made.folder(runs), record)
    names = np.array([f"patient{i // 3}" for i in range(len(right))])
    np.savez_compressed(
        path.with_name("predictions.npz"), test_groups=names, test_probs=probs, test_labels=labels
    )
    return path


def stored(tmp_path, **arrays):
    np.savez(tmp_path / "predictions.npz", **arrays)
    return tmp_path / "predictions.npz"


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "kappa", "macro_f1", "auc"])
def test_weighing_a_patient_twice_is_having_its_images_twice(tmp_path, metric):
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.ones(3), 40).round(1)  # ties for the AUC
    labels, groups = random.integers(0, 3, 40), random.integers(0, 12, 40)
    path = stored(tmp_path, test_probs=probs, test_labels=labels, test_groups=groups.astype(str))
    tested = predictions.read(path, metric, CLASSES)
    counts = random.integers(0, 4, (20, len(tested.groups)))
    order = [tested.groups.index(str(g)) for g in groups]
    for row, got in zip(counts, tested.metric(counts.astype(float)), strict=True):
        again = np.repeat(np.arange(40), row[order])
        assert got == pytest.approx(metrics.classification(probs[again], labels[again])[metric])


@pytest.mark.parametrize("metric", ["dice", "iou", "dice_worse"])
def test_a_resampled_segmentation_is_the_metric_of_the_drawn_volumes(tmp_path, metric):
    random = np.random.default_rng(1)
    counts = random.integers(0, 9, (30, 3, 3))
    counts[random.random((30, 3)) < 0.6] = 0  # empty masks, in whole volumes too
    groups = np.array([f"v{i % 10}" for i in range(30)])
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    path = stored(tmp_path, test_groups=groups, test_tp=tp, test_fp=fp, test_fn=fn)
    tested = predictions.read(path, metric, CLASSES)
    for row in random.integers(0, 3, (20, 10)):
        drawn = [
            (f"{name}-{copy}", counts[groups == name])
            for name, times in zip(tested.groups, row, strict=True)
            for copy in range(times)
        ]
        names = [name for name, part in drawn for _ in part]
        truth = metrics.segmentation(np.concatenate([p for _, p in drawn]), names, CLASSES)
        assert tested.metric(row[None].astype(float))[0] == pytest.approx(truth[metric])


def test_a_metric_that_predictions_do_not_hold_is_none(tmp_path):
    path = stored(
        tmp_path, test_groups=np.array(["a"]), test_probs=ONE[:1], test_labels=np.array([0])
    )
    assert predictions.read(path, "loss", CLASSES) is None
    assert predictions.read(path, "dice", CLASSES) is None


def test_the_patient_bootstrap_of_three_patients_by_hand():
    # Differences of three patients: +1, +1, -1. Of the 27 ways to draw three, the mean is above 0
    # where -1 is drawn at most once: 8 + 3 * 4 = 20 ways; it is never 0.
    one, two = (
        Sample(
            ("a", 1.0),
            {(0, 0): 100 * np.mean(right)},
            {(0, 0): resample(predictions.Tested(("p", "q", "r"), _mean_of(right)))},
        )
        for right in ([1, 1, 0], [0, 0, 1])
    )
    difference = replicates(one, [(0, 0)]) - replicates(two, [(0, 0)])
    ways = [np.mean(draw) for draw in itertools.product([1, 1, -1], repeat=3)]
    assert np.mean([way > 0 for way in ways]) == 20 / 27
    assert probability(difference) == pytest.approx(20 / 27, abs=0.015)
    assert np.unique(difference.round(1)) == pytest.approx(
        np.unique(np.round(100 * np.array(ways), 1))
    )


def _mean_of(values):
    return lambda weights: weights @ np.array(values, float) / weights.sum(1)


def test_the_error_of_three_seeds_is_students_t():
    # 1, 2, 3: mean 2, deviation 1; 95 % by hand 2 +- 4.303 / sqrt 3 = -.484 to 4.484
    units = [(0, 0), (0, 1), (0, 2)]
    sample = Sample(("a", 1.0), dict(zip(units, (1.0, 2.0, 3.0), strict=True)))
    values = replicates(sample, units, 200_000)
    assert interval(values) == pytest.approx((-0.484, 4.484), abs=0.1)
    p = scipy_stats.ttest_1samp([1, 2, 3], 0).pvalue  # .0742
    assert 2 * (1 - probability(values)) == pytest.approx(p, abs=0.004)


def test_seeds_are_paired():
    # each method scatters by 20 points over seeds, their difference by none
    units = [(0, 0), (0, 1), (0, 2)]
    one = Sample(("a", 1.0), dict(zip(units, (30.0, 50.0, 70.0), strict=True)))
    two = Sample(("a", 1.0), dict(zip(units, (29.0, 49.0, 69.0), strict=True)))
    difference = replicates(one, units) - replicates(two, units)
    assert difference == pytest.approx(np.ones(len(difference)))


def test_ranks_and_friedman_of_three_by_three_by_hand():
    # always A > B > C: ranks 1, 2, 3; chi2 = 12 * 3 / (3 * 4) * (1 + 4 + 9 - 3 * 16 / 4) = 6, and
    # for two degrees of freedom p = exp(-3); Nemenyi: 2.343 * sqrt(3 * 4 / (6 * 3)) = 1.913
    found = ranks.rank(("a", "b", "c"), np.array([[9, 5, 1], [8, 7, 6], [3, 2, 1.0]]))
    assert found.ranks == (1, 2, 3)
    assert found.friedman_p == pytest.approx(np.exp(-3))
    assert found.critical_difference == pytest.approx(1.913, abs=0.002)
    assert found.separated() == 1  # a and c
    assert found.together() == [("a", "b"), ("b", "c")]
    tied = ranks.rank(("a", "b"), np.array([[5, 5], [5, 4.0]]))
    assert tied.ranks == (1.25, 1.75)
    assert (tied.friedman_p, tied.critical_difference) == (None, None)
    assert ranks.rank(("a", "b", "c"), np.ones((2, 3))).friedman_p == 1


def test_demsars_example():
    # Demsar 2006, section 3.2.2 and table 6: four methods on 14 data sets. AUC of C4.5 and
    # variants; ranks 3.143, 2.000, 2.893, 1.964; Friedman's chi2 9.28; critical difference 1.25
    # (in the row before the last the paper ranks unrounded values, hence the .97501).
    table = """.763 .768 .771 .798|.599 .591 .590 .569|.954 .971 .968 .967|.628 .661 .654 .657
    .882 .888 .886 .898|.936 .931 .916 .931|.661 .668 .609 .685|.583 .583 .563 .625
    .775 .838 .866 .875|1 1 1 1|.940 .962 .965 .962|.619 .666 .614 .669
    .972 .981 .97501 .975|.957 .978 .946 .970"""
    rows = [row.split() for line in table.splitlines() for row in line.strip().split("|")]
    found = ranks.rank(("c45", "m", "cf", "m+cf"), np.array(rows, float))
    assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=0.001)
    assert found.critical_difference == pytest.approx(1.25, abs=0.01)


def test_wilcoxon_and_holm_by_hand():
    assert ranks.wilcoxon([1, 2, 3]) == 2 / 8  # the most extreme two of 2^3 signs
    assert ranks.wilcoxon([1, 1, 1]) == pytest.approx(2 / 8)  # ties too
    assert ranks.wilcoxon([1, 2, -3]) == 1
    assert ranks.wilcoxon([0, 0, 0]) == 1
    assert ranks.wilcoxon([0, 1, 2, 3]) == 2 / 8  # a tie says nothing
    assert ranks.smallest_p(3) == 2 / 8
    assert ranks.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert ranks.holm([]) == []


def test_holm_against_its_definition():
    for seed in range(20):
        p = np.random.default_rng(seed).random(7) ** 3
        order = np.argsort(p)
        largest, expected = 0.0, np.empty(7)
        for place, i in enumerate(order):
            largest = max(largest, min(1, (7 - place) * p[i]))
            expected[i] = largest
        assert ranks.holm(list(p)) == pytest.approx(expected)


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
    (found,) = stats.build(loaded, [runs], tables.build(loaded), against)
    return found


def test_what_differs_is_separated_and_ties_are_said(runs):
    found = built(runs, "bad")
    verdicts = {(c.method, c.columns[0].dataset): c for c in found.blockwise}
    good = verdicts["good", "a"]
    assert good.difference == pytest.approx(100 * 80 / 180)
    assert 25 < good.interval[0] < good.difference < good.interval[1] < 65
    assert (good.verdict, good.probability) == ("better", 1)
    same = verdicts["same", "a"]
    assert (same.difference, same.interval, same.probability) == (0, (0, 0), 0.5)
    assert (same.p, same.verdict) == (1, "tie")
    once = verdicts["once", "a"]
    assert (once.interval, once.p, once.verdict) == (None, None, "n = 1")
    assert once.patients == (0, 0)
    assert [c.dataset for c in found.tied] == ["a", "b"]
    assert set(found.tied.values()) == {("good",)}
    assert found.rank_intervals == {}  # one method has one seed


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
    assert "Best or tied on a 10%: good; n = 1, untold: 1.\n" in block
    assert "none can be: the smallest p is" in " ".join(block.split())
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


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_intervals_hold_the_truth_nineteen_times_of_twenty(num_seeds):
    # true difference 0; patients, seeds and both together scatter by .5, .1 and .3
    random, units, hits = np.random.default_rng(0), [(0, s) for s in range(num_seeds)], 0
    for trial in range(200):
        seeds, patients = random.normal(0, 0.1, (num_seeds, 1)), random.normal(0, 0.5, 100)
        values = seeds + patients + random.normal(0, 0.3, (num_seeds, 100))
        names = tuple(f"{trial}-{i}" for i in range(100))
        drawn = [resample(predictions.Tested(names, _mean_of(row)), 1000) for row in values]
        scores = dict(zip(units, 100 * values.mean(1), strict=True))
        sample = Sample(("a", 1.0), scores, dict(zip(units, drawn, strict=True)))
        low, high = interval(replicates(sample, units, 1000))
        hits += low <= 0 <= high
    assert hits >= 184  # 92 %, two deviations below 95 %
