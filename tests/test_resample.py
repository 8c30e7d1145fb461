"""Resampled patients and seeds: by hand, against the metrics themselves, and by simulation."""

import itertools

import numpy as np
import pytest

from results.frame import predictions
from results.statistics.resample import Sample, patients, resample

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
    difference = patients(one, ((0, 0),)) - patients(two, ((0, 0),))
    ways = [np.mean(draw) for draw in itertools.product([1, 1, -1], repeat=3)]
    assert np.mean([way > 0 for way in ways]) == 20 / 27
    assert (difference > 0).mean() == pytest.approx(20 / 27, abs=0.03)
    assert np.unique(difference.round(1)) == pytest.approx(
        np.unique(np.round(100 * np.array(ways), 1))
    )


def _mean_of(values):
    return lambda weights: weights @ np.array(values, float) / weights.sum(1)
