"""How many seeds are needed: against the noncentral t distribution, and by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from test_stats import built, write

from benchmark.core.registry import InputError
from results.reporting import Options, report
from results.statistics import sample_size


def test_seeds_needed_against_the_noncentral_t():
    def power(n, effect):
        cut = scipy_stats.t.isf(0.025, n - 1)
        tails = scipy_stats.nct(n - 1, effect * np.sqrt(n))
        return tails.sf(cut) + tails.cdf(-cut)

    for points, deviation in ((1, 1), (1, 2), (2, 1), (1, 7)):
        found = sample_size.seeds_needed(points, deviation)
        assert power(found, points / deviation) >= 0.8 > power(found - 1, points / deviation)
    assert [sample_size.seeds_needed(x, 1) for x in (3.5, 20, 1e6)] == [3, 2, 2]
    assert sample_size.seeds_needed(1, 1) == 10  # as in Cohen's tables
    assert sample_size.seeds_needed(1, 0) == 2
    assert sample_size.seeds_needed(0.01, 5) == sample_size.MOST + 1


def planned(runs, points, reference="x"):
    return sample_size.sample_sizes(built(runs, reference), points)[0]


def test_the_plan_of_three_seeds_by_hand(tmp_path):
    # differences y - x over seeds: 10, 20, 30 of 100 images: deviation 10; no predictions
    for method, shares in (("x", (40, 40, 40)), ("y", (50, 60, 70))):
        for seed, share in enumerate(shares):
            path = write(tmp_path, np.arange(100) < share, method=method, seed=seed)
            path.with_name("predictions.npz").unlink()
    found = planned(tmp_path, 10)
    assert (found.methods, found.test_error) == (1, None)
    assert found.seed_deviation == pytest.approx(10)
    assert found.seeds == 10  # effect 1: as above
    text = report([tmp_path], tmp_path / "report", options=Options(plan_seeds=10)).text
    assert text.splitlines()[-1].split()[-5:] == ["100%", "1", "10.0", "unknown", "10"]


def test_a_small_test_set_is_told_from_few_seeds(tmp_path):
    # 50 patients, all three seeds alike: y right on 25 of them, x on all; error sqrt(.25 / 50)
    # = 7.07; z sum 2.8016; to see 10 points takes 50 * (2.8016 * .0707 / .1)^2 = 196 patients
    for method, right in (("x", np.ones(150)), ("y", np.repeat(np.arange(50) < 25, 3))):
        for seed in range(3):
            write(tmp_path, right, method=method, seed=seed)
    found = planned(tmp_path, 10)
    assert found.seeds is None
    assert found.groups == pytest.approx(196, rel=0.05)
    assert found.groups_now == 50
    text = sample_size.text(built(tmp_path, "x"), 10)
    assert f"none: > {found.groups} groups (50 now)" in text
    assert max(map(len, text.splitlines())) <= 100
    assert planned(tmp_path, 30).seeds == 2
    with pytest.raises(InputError, match="-1 is not a difference; give points above 0"):
        planned(tmp_path, -1)


def test_one_seed_makes_no_plan(tmp_path):
    for method in ("x", "y"):
        write(tmp_path, np.ones(9), method=method)
    assert "n = 1: unknown" in sample_size.text(built(tmp_path), 1)
