"""Families of comparisons: seed noise against limma's formulas, and size and coverage simulated."""

import itertools

import numpy as np
import pytest
from scipy import optimize, special, stats

from results.statistics import family, seeds
from results.statistics.comparison import compare, corrected
from results.statistics.resample import Sample
from results.statistics.summary import summarise
from results.tables import Column

UNITS = tuple((0, s) for s in range(6))


def column(name="a"):
    return Column(name, 1.0, "accuracy", 100, False)


def by_unit(values):
    return dict(zip(UNITS, values, strict=False))


def sampled(scores, drawn=None, name="a"):
    """Samples of a column: `scores` (M, S), `drawn` (M, S, R) resampled scores over 100 groups."""
    methods = [f"m{i}" for i in range(len(scores))]
    by_seed = {m: by_unit(map(float, row)) for m, row in zip(methods, scores, strict=True)}
    noise = seeds.noise(by_seed)
    resampled = [{}] * len(methods) if drawn is None else [by_unit(d) for d in drawn]
    return {
        (m, column(name)): Sample((name, "100%"), by_seed[m], again, 100, noise.get(m))
        for m, again in zip(methods, resampled, strict=True)
    }


def test_two_methods_are_compared_by_students_paired_t_test():
    scores = np.array([[71.0, 75, 78, 70], [69, 74, 73, 69]])
    found = compare(sampled(scores), "m0", "m1", [column()])
    expected = stats.ttest_rel(*scores)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.probability == pytest.approx(1 - expected.pvalue / 2)


def test_what_a_seed_does_to_all_methods_is_no_noise():
    shared = np.array([0.0, 20, -20])
    own = np.random.default_rng(0).normal(0, 1, (6, 3))
    for with_shared, without in zip(
        seeds.noise(scored(own + shared)).values(), seeds.noise(scored(own)).values(), strict=True
    ):
        assert with_shared == pytest.approx(without)


def scored(table):
    return {
        f"m{i}": {unit: value for unit, value in by_unit(row).items() if not np.isnan(value)}
        for i, row in enumerate(table)
    }


def test_a_missing_seed_is_fitted_by_least_squares():
    # the same two-way model, solved with dummy variables
    table = np.random.default_rng(1).normal(50, 3, (5, 4))
    table[2, 3] = np.nan
    cells = [(m, u) for m, u in itertools.product(range(5), range(4)) if not np.isnan(table[m, u])]
    design = np.zeros((len(cells), 9))
    for row, (m, u) in enumerate(cells):
        design[row, [m, 5 + u]] = 1
    values = np.array([table[cell] for cell in cells])
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    left = 1 - np.diag(design @ np.linalg.pinv(design))
    for m, found in enumerate(seeds._without_shared(scored(table)).values()):
        mine = [i for i, (method, _) in enumerate(cells) if method == m]
        assert found.variance == pytest.approx((residual[mine] ** 2).sum() / left[mine].sum())
        assert found.freedom <= len(mine) - 1


def test_methods_that_share_no_seed_keep_their_noise():
    # two-way least squares fits them exactly: without care they would have no noise at all
    nan = np.nan
    for table, expected in (
        ([[70, 74, 78, nan, nan, nan], [nan, nan, nan, 71, 75, 79]], [16, 16]),
        ([[70, 74, 78, nan, nan], [nan, nan, 71, 75, 79]], [16, 16]),
        # a seed that one has alone says nothing: Student's paired test over the two they share
        ([[70, 74, 90], [69, 77, nan]], [4, 4]),
    ):
        found = seeds.noise(scored(np.array(table, float)))
        assert [n.variance for n in found.values()] == pytest.approx(expected)


def test_a_method_without_scatter_leaves_the_others_moderated():
    # nearest neighbours answer alike with every seed
    table = np.random.default_rng(2).normal(50, 3, (6, 3))
    alone = seeds.noise(scored(table), paired=False)
    beside = seeds.noise(scored(np.vstack([table, [7.1, 7.1, 7.1]])), paired=False)
    assert {m: beside[m] for m in alone} == alone
    assert beside["m6"].variance > 0


def test_variances_are_moderated_as_smyth_2004_says():
    # equations of section 6.2, solved anew with a root finder
    variances = np.array([0.1, 4.0, 9.0, 0.5, 30.0, 2.0])
    moderated = seeds.moderated({str(i): seeds.Noise(v, 2) for i, v in enumerate(variances)})
    e = np.log(variances) - special.digamma(1) + np.log(1)
    excess = e.var(ddof=1) - special.polygamma(1, 1)
    d0 = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e3)
    s0 = np.exp(e.mean() + special.digamma(d0 / 2) - np.log(d0 / 2))
    expected = (d0 * s0 + 2 * variances) / (d0 + 2)
    assert [n.variance for n in moderated.values()] == pytest.approx(expected)
    assert [n.freedom for n in moderated.values()] == pytest.approx([d0 + 2] * 6)


def test_alike_variances_are_not_pooled_fully():
    moderated = seeds.moderated({str(i): seeds.Noise(1.0, 2) for i in range(8)})
    prior = next(iter(moderated.values())).freedom - 2
    assert special.polygamma(1, prior / 2) == pytest.approx(seeds.LEAST_SPREAD)


def test_no_number_of_tests_makes_everything_a_tie():
    # 21 methods on 12 columns, 30 points above the reference everywhere: 252 tests of three seeds
    random, samples = np.random.default_rng(0), {}
    for name in "abcdefghijkl":
        scores = random.normal(50, 1.5, (22, 3)) + 30 * (np.arange(22) > 0)[:, None]
        samples |= sampled(scores, name=name)
    found = corrected(
        [
            compare(samples, f"m{m}", "m0", [column(name)])
            for m in range(1, 22)
            for name in "abcdefghijkl"
        ]
    )
    assert len(found) == 252
    assert {c.verdict for c in found} == {"better"}


def test_one_seed_in_one_column_leaves_the_others_their_interval():
    random = np.random.default_rng(0)
    samples = sampled(random.normal(50, 1, (5, 3)), name="a")
    samples |= sampled(random.normal(50, 1, (5, 3)), name="b") | sampled(
        np.full((5, 1), 9), name="c"
    )
    found = compare(samples, "m0", "m1", [column(name) for name in "abc"])
    assert [c.dataset for c in found.columns] == ["a", "b"]
    assert found.interval is not None
    assert found.seeds == 3


def test_the_best_of_clearly_different_methods_stands_alone():
    scores = np.random.default_rng(0).normal(0, 1, (6, 3)) + 40 + 10 * np.arange(6)[:, None]
    samples = sampled(scores)
    found = family.family(samples, [f"m{i}" for i in range(6)], [column()])
    assert family.best_or_tied(found) == ("m5",)
    assert family.places(found) == {f"m{i}": (6 - i, 6 - i) for i in range(6)}
    assert family.places(found, 2)["m5"] == (1, 3)  # two methods of one seed may stand anywhere


def test_identical_methods_are_tied():
    samples = sampled(np.full((5, 3), 70.0))
    found = family.family(samples, [f"m{i}" for i in range(5)], [column()])
    assert len(family.best_or_tied(found)) == 5
    assert set(family.places(found).values()) == {(1, 5)}


def world(random, quality, num_seeds, scatter, num_groups=100):
    """One world: scores (M, S) and their resamples (M, S, R), of a mean over test groups.

    Every group has its own difficulty, also for each method; every run its own luck.
    """
    methods = len(quality)
    patients = random.normal(0, 50, num_groups) + random.normal(0, 30, (methods, 1, num_groups))
    luck = random.normal(0, 5, (1, num_seeds, 1))
    luck = luck + random.normal(0, 1, (methods, num_seeds, 1)) * scatter[:, None, None]
    noise = random.normal(0, 30, (methods, num_seeds, num_groups))
    values = quality[:, None, None] + patients + luck + noise
    drawn = random.multinomial(num_groups, np.full(num_groups, 1 / num_groups), family.RESAMPLES)
    return values.mean(2), values @ drawn.T / num_groups


@pytest.mark.simulation
@pytest.mark.parametrize(("methods", "num_seeds"), [(8, 3), (15, 3), (15, 5)])
@pytest.mark.parametrize("scatter", ["alike", "one three times as far", "half three times as far"])
def test_an_equal_method_is_seldom_excluded(methods, num_seeds, scatter):
    far = {"alike": 0, "one three times as far": 1, "half three times as far": methods // 2}[
        scatter
    ]
    sds, random, worlds = (
        np.where(np.arange(methods) < far, 15.0, 5.0),
        np.random.default_rng(0),
        300,
    )
    excluded = 0
    for _ in range(worlds):
        samples = sampled(*world(random, np.full(methods, 50.0), num_seeds, sds))
        found = family.family(samples, [f"m{i}" for i in range(methods)], [column()])
        excluded += len(family.best_or_tied(found)) < methods
    print(f"\n{methods} methods, {num_seeds} seeds, {scatter}: {100 * excluded / worlds:.1f} %")
    assert excluded <= worlds * (0.05 if far < 2 else 0.08) + 2 * (worlds * 0.05 * 0.95) ** 0.5


@pytest.mark.simulation
@pytest.mark.parametrize("spread", [0.0, 3.0, 8.0])
def test_places_hold_the_true_ones(spread):
    random, worlds, held, width = np.random.default_rng(0), 200, 0, 0.0
    for _ in range(worlds):
        quality, samples = 50 + spread * random.standard_normal(8), {}
        for name in "abcd":
            samples |= sampled(*world(random, quality, 3, np.full(8, 5.0)), name=name)
        found = family.family(samples, [f"m{i}" for i in range(8)], [column(n) for n in "abcd"])
        ranges = family.places(found).values()
        above = (quality[None] > quality[:, None] + 1e-9).sum(1)
        level = (abs(quality[None] - quality[:, None]) < 1e-9).sum(1)
        held += all(  # equal methods share places: each may take any of them
            low <= 1 + a and high >= a + n
            for (low, high), a, n in zip(ranges, above, level, strict=True)
        )
        width += np.mean([high - low + 1 for low, high in ranges])
    print(
        f"\nspread {spread}: places hold in {100 * held / worlds:.1f} %, width {width / worlds:.1f}"
    )
    assert held >= worlds * 0.95 - 2 * (worlds * 0.05 * 0.95) ** 0.5


@pytest.mark.simulation
@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_differences_are_covered_and_true_nulls_kept(num_seeds):
    random, worlds, covered, rejected, tests = np.random.default_rng(0), 300, 0, 0, 0
    for _ in range(worlds):
        samples = sampled(*world(random, np.full(6, 50.0), num_seeds, np.full(6, 5.0)))
        found = [compare(samples, f"m{m}", "m0", [column()]) for m in range(1, 6)]
        covered += sum(c.interval[0] <= 0 <= c.interval[1] for c in found)
        tests += len(found)
        rejected += any(c.verdict != "tie" for c in corrected(found))
    print(
        f"\n{num_seeds} seeds: intervals hold 0 in {100 * covered / tests:.1f} %, "
        f"Holm rejects in {100 * rejected / worlds:.1f} % of worlds"
    )
    assert covered >= 0.94 * tests
    assert rejected <= worlds * 0.05 + 2 * (worlds * 0.05 * 0.95) ** 0.5


@pytest.mark.simulation
@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_averages_are_covered(num_seeds):
    """The interval of a mean over columns holds the true one: 50 plus what is shared by chance."""
    random, worlds, held, width = np.random.default_rng(0), 300, 0, 0.0
    for _ in range(worlds):
        samples = {}
        for name in "abc":
            drawn = world(random, np.full(6, 50.0), num_seeds, np.full(6, 5.0))
            samples |= sampled(*drawn, name=name)
        made = summarise(samples, [f"m{i}" for i in range(6)], [column(n) for n in "abc"])
        low, high = made.averages["m0"].interval
        held += low <= 50 <= high
        width += high - low
    share = 100 * held / worlds
    print(f"\n{num_seeds} seeds: averages held in {share:.1f} %, width {width / worlds:.1f}")
    assert held >= worlds * 0.95 - 2 * (worlds * 0.05 * 0.95) ** 0.5


def test_an_average_by_hand():
    # two columns of two seeds without stored patients: variances 2 and 8 of one run, 1 and 4 of a
    # mean; the mean of both columns has (1 + 4) / 4, with 25 / (1 / 1 + 16 / 1) degrees of freedom
    samples = sampled(np.array([[49.0, 51.0]]), name="a")
    samples |= sampled(np.array([[58.0, 62.0]]), name="b")
    made = summarise(samples, ["m0"], [column("a"), column("b")])
    assert made.averages["m0"].mean == 55.0
    half = stats.t.ppf(0.975, 25 / 17) * (5 / 4) ** 0.5
    assert made.averages["m0"].interval == pytest.approx((55 - half, 55 + half))
    assert made.ranking is None  # one method
    once = sampled(np.array([[50.0]]), name="a")
    assert summarise(once, ["m0"], [column("a")]).averages["m0"].interval is None


def test_a_score_by_itself_keeps_what_a_seed_does_to_all():
    scores = {f"m{i}": {(0, s): 10.0 * s + i for s in range(3)} for i in range(2)}
    assert [round(n.variance, 9) for n in seeds.noise(scores).values()] == [0, 0]
    assert [n.variance for n in seeds.noise(scores, paired=False).values()] == [100, 100]
