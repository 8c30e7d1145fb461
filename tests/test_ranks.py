"""Ranks and their tests against cases done by hand (3 x 3) and a published example."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from results.figures.ranks import draw
from results.figures.shown import Shown
from results.statistics import ranks
from results.statistics.summary import means_of_sets
from results.tables import Column


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


def test_the_diagram_shows_each_rank_and_each_tie():
    found = ranks.Ranking(("a", "b", "c"), (1.0, 2.0, 3.0), 3, 0.05, 1.5)
    axes = draw(
        Shown(SimpleNamespace(methods=found.methods), pd.DataFrame(), titles=False), found
    ).axes[0]
    texts = {t.get_text().strip() for t in axes.texts}
    assert texts == {"1", "2", "3", "a (1.0)", "b (2.0)", "c (3.0)", "critical difference 1.50"}
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() > 2]
    assert [tuple(bar.round(1)) for bar in map(np.array, bars)] == [(0.9, 2.1), (1.9, 3.1)]
    drawn = {line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 3}
    assert drawn == {1.0, 2.0, 3.0}


def test_label_fractions_as_blocks_would_call_equal_methods_different():
    """Six sets of three fractions; a method may suit a set, but none is better over all sets."""
    random, worlds = np.random.default_rng(0), 400
    columns = [
        Column(name, share, "dice", 0, False) for name in "abcdef" for share in (0.1, 0.4, 1)
    ]
    wrong = np.zeros((2, 2))  # by column and by set, of Wilcoxon and of Friedman
    for _ in range(worlds):
        suits = np.repeat(random.normal(0, 1, (6, 4)), 3, axis=0)
        by_column = suits + random.normal(0, 1, suits.shape)
        for i, blocks in enumerate((by_column, means_of_sets(by_column, columns))):
            wrong[i, 0] += ranks.wilcoxon(blocks[:, 0] - blocks[:, 1]) < 0.05
            wrong[i, 1] += ranks.rank("wxyz", blocks).friedman_p < 0.05
    assert (wrong[0] / worlds > (0.1, 0.2)).all()
    assert (wrong[1] / worlds < 0.05 + 2 * (0.05 * 0.95 / worlds) ** 0.5).all()
