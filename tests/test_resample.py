"""Resampled patients and seeds: by hand, against the metrics themselves, and by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from results.frame import predictions
from results.statistics.resample import Sample, interval, probability, replicates, resample

CLASSES = ("healthy", "ill", "worse")
ONE = np.eye(3)


def stored(tmp_path, **arrays):
    np.savez(tmp_path / "predictions.npz", **arrays)
    return tmp_path / "predictions.npz"


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
            ("a", "100%"),
            {(0, 0): 100 * np.mean(right)},
            {(0, 0): resample(predictions.Tested(("p", "q", "r"), _mean_of(right)))},
        )
        for right in ([1, 1, 0], [0, 0, 1])
    )
    difference = replicates(one, ((0, 0),)) - replicates(two, ((0, 0),))
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
    units = ((0, 0), (0, 1), (0, 2))
    sample = Sample(("a", "100%"), dict(zip(units, (1.0, 2.0, 3.0), strict=True)))
    values = replicates(sample, units, 200_000)
    assert interval(values) == pytest.approx((-0.484, 4.484), abs=0.1)
    p = scipy_stats.ttest_1samp([1, 2, 3], 0).pvalue  # .0742
    assert 2 * (1 - probability(values)) == pytest.approx(p, abs=0.004)


def test_very_many_seeds_are_taken_in_batches():
    scores = np.random.default_rng(0).normal(50, 4, 3000)
    sample = Sample(("a", "100%"), {(0, s): x for s, x in enumerate(scores)})
    low, high = interval(replicates(sample, tuple(sample.scores)))
    assert (low + high) / 2 == pytest.approx(scores.mean(), abs=0.02)
    assert (high - low) / 2 == pytest.approx(1.96 * 4 / 3000**0.5, rel=0.25)


def test_seeds_are_paired():
    # each method scatters by 20 points over seeds, their difference by none
    units = ((0, 0), (0, 1), (0, 2))
    one = Sample(("a", "100%"), dict(zip(units, (30.0, 50.0, 70.0), strict=True)))
    two = Sample(("a", "100%"), dict(zip(units, (29.0, 49.0, 69.0), strict=True)))
    difference = replicates(one, units) - replicates(two, units)
    assert difference == pytest.approx(np.ones(len(difference)), abs=1e-4)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_intervals_hold_the_truth_nineteen_times_of_twenty(num_seeds):
    # true difference 0; patients, seeds and both together scatter by .5, .1 and .3
    random, units, hits = np.random.default_rng(0), tuple((0, s) for s in range(num_seeds)), 0
    for trial in range(200):
        seeds, patients = random.normal(0, 0.1, (num_seeds, 1)), random.normal(0, 0.5, 100)
        values = seeds + patients + random.normal(0, 0.3, (num_seeds, 100))
        names = tuple(f"{trial}-{i}" for i in range(100))
        drawn = [
            resample(predictions.Tested(names, _mean_of(row)), resamples=1000) for row in values
        ]
        scores = dict(zip(units, 100 * values.mean(1), strict=True))
        sample = Sample(("a", "100%"), scores, dict(zip(units, drawn, strict=True)))
        low, high = interval(replicates(sample, units, 1000))
        hits += low <= 0 <= high
    assert hits >= 184  # 92 %, two deviations below 95 %
