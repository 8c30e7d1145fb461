import json
import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from test_results import make_record
from test_spec import make_cell

import methods
from benchmark.commands._axes import axes_of
from benchmark.core import cell as cell_module
from benchmark.core.cell import Cell
from benchmark.core.record import write_record
from benchmark.core.registry import InputError
from benchmark.sweep.grid import AXES, Grid, with_budget
from benchmark.sweep.resolve import Resolver
from benchmark.sweep.suites import request
from benchmark.sweep.tuning import read_tuned, trial
from methods import Range
from results import frame, tables
from results.tables import trials


def resolve(**axes):
    grid = Grid(backbones=("tiny_vit",), fractions=(0.4,), **axes)
    return Resolver().cells([with_budget(grid, 5)])


def test_every_method_has_as_many_trials_its_default_first():
    cells = resolve(methods=("full", "lora", "linear"), seeds=(0, 1))
    for name in ("full", "lora", "linear"):
        own = [c for c in cells if c.method.partition("(")[0] == name]
        settings = list(dict.fromkeys((c.lr, c.weight_decay) for c in own))
        assert len(own) == 2 * len(settings) == 10
        method = methods.build(name)
        assert settings[0] == (method.lr, 1e-4)
        r = method.search_space()["lr"]
        assert all(r.low <= lr <= r.high for lr, _ in settings)
        assert len({lr for lr, _ in settings}) == 5


def test_no_method_is_tuned_with_luckier_draws():
    shares = []
    for name in ("full", "linear"):
        r = methods.build(name).search_space()["lr"]
        drawn = [trial({"lr": r}, k)["lr"] for k in range(1, 9)]
        shares.append([math.log(lr / r.low) / math.log(r.high / r.low) for lr in drawn])
    assert shares[0] == pytest.approx(shares[1], abs=0.01)  # two digits
    assert shares[0][:3] == pytest.approx([1 / 4, 3 / 4, 1 / 8], abs=0.01)  # Halton, base 2


def test_a_larger_budget_holds_a_smaller_one():
    space = methods.build("fact_tt").search_space()
    assert [trial(space, k) for k in (1, 2, 3)] == [trial(space, k) for k in range(1, 9)][:3]


SCALED = {"fact_tt": 1.0, "fact_tk": 1.0, "convpass": 1.0, "repadapter": 1.0, "adaptformer": 0.1}


@pytest.mark.parametrize("name", SCALED)
def test_a_scale_is_searched_where_its_authors_search_it(name):
    cells = resolve(methods=(name, "lora"))
    own, others = ([c for c in cells if (methods.of_cell(c).name == n)] for n in (name, "lora"))
    assert len(own) == len(others) == 5
    assert len({c.method for c in own}) == 1  # one method in tables, whatever its trials change
    scales = [methods.of_cell(c).scale for c in own]
    assert scales[0] == SCALED[name]
    assert own[0].tuned == ""
    r = methods.build(name).search_space()["scale"]
    assert len(set(scales)) == 5
    assert all(r.low <= scale <= r.high for scale in scales[1:])
    assert [c.weight_decay for c in own] == [c.weight_decay for c in others]
    assert all(c.tuned == "" for c in others)


def test_a_scale_that_a_spec_sets_is_not_searched():
    cells = resolve(methods=("convpass(scale=10.0)",))
    assert {methods.of_cell(c).scale for c in cells} == {10.0}
    assert len(cells) == 5


def test_what_a_trial_changes_is_in_the_key_and_not_in_the_start():
    first, second, *_ = resolve(methods=("convpass",))
    assert second.tuned.startswith("scale=")
    assert second.key != replace(second, tuned="").key
    assert cell_module.seed(first, "init") == cell_module.seed(second, "init")
    assert Cell.from_dict(json.loads(json.dumps(second.values()))) == second


@pytest.mark.parametrize("name", list(methods.methods))
def test_every_range_holds_the_default_and_says_whose_it_is(name):
    method = methods.build(name)
    space = method.search_space()
    assert list(space)[:2] == ["lr", "weight_decay"]  # the axes that all methods share come first
    for key, r in space.items():
        default = {"lr": method.lr, "weight_decay": 1e-4}.get(key, getattr(method, key, None))
        assert r.name == key
        assert r.low <= default <= r.high
        assert len(r.source) > 20


def test_a_range_of_something_else_is_refused():
    @dataclass(frozen=True)
    class Odd(type(methods.build("lora"))):
        ranges = (methods.Range("rank", 1, 64, "nobody"),)

    Odd.name = "odd"
    with pytest.raises(InputError, match="odd searches 'rank', which is neither lr nor"):
        Odd().search_space()


def test_trials_of_a_scale_are_trials_of_one_method_in_tables(tmp_path):
    for tuned, score in (("", 0.3), ("scale=10.0", 0.6), ("scale=0.1", 0.5)):
        cell = make_cell(method="convpass", tuned=tuned)
        write_record(cell.folder(tmp_path), make_record(cell, score, score))
    (table,) = tables.build(frame.load([tmp_path]))
    (rows,) = table.chosen.values()
    assert rows["tuned"].tolist() == ["scale=10.0"]
    assert rows["trials"].tolist() == [3]


def grids(tune_budget=None, **flags):
    import argparse

    names = dict.fromkeys([*AXES, "tune", "max_steps", "until_converged"])
    axes = axes_of(argparse.Namespace(**{**names, "tune": [], **flags}))
    return request(axes, budget=tune_budget)


def test_tune_flags_are_axes():
    (grid,) = grids(tune=["lr=1e-4,1e-3", "weight-decay=0,0.1"])
    assert (grid.lr, grid.weight_decay) == ((1e-4, 1e-3), (0.0, 0.1))
    (grid,) = grids(tune_budget=3)
    assert grid.trial == (0, 1, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"tune_budget": 0}, "from 1 to 1000"),
        ({"tune_budget": 3, "lr": "1e-3"}, "leave out lr"),
        ({"tune": ["lr"]}, "NAME=A,B"),
        ({"tune": ["lr=1e-3", "lr=1e-2"]}, "twice"),
        ({"tune": ["lr=1e-3"], "lr": "1e-2"}, "both"),
        ({"tune": ["method=a"]}, "one of lr"),
        ({"tune": ["lr=x"]}, "must be a number"),
    ],
)
def test_bad_tuning_is_one_sentence(values, expected):
    with pytest.raises(InputError, match=expected):
        grids(**values)


def test_a_range_that_reaches_zero_is_refused():
    with pytest.raises(InputError, match="must lie above 0"):
        trial({"lr": Range("lr", 0.0, 1.0, "")}, 1)
    assert read_tuned([]) == {}


def test_expected_score_of_k_trials_by_all_subsets():
    generator = np.random.default_rng(0)
    val, test = generator.random((2, 6))
    for less in (False, True):
        sign = 1 if less else -1
        slow = [
            np.mean([test[min(s, key=lambda i: sign * val[i])] for s in combinations(range(6), k)])
            for k in range(1, 7)
        ]
        assert trials.expected(val, test, less=less) == pytest.approx(slow)


def test_curves_come_from_records(tmp_path):
    scores = {1e-4: (0.2, 0.3), 1e-3: (0.6, 0.5), 1e-2: (0.4, 0.9)}
    for lr, (val, test) in scores.items():
        for seed in (0, 1):
            cell = make_cell(method="lora", lr=lr, seed=seed)
            write_record(cell.folder(tmp_path), make_record(cell, test + 0.01 * seed, val))
    loaded = frame.load([tmp_path])
    (table,) = tables.build(loaded)
    (curve,) = trials.curves(loaded.rows, table.columns[0]).values()
    # best on validation: .6 with test .505; of two trials it is among them in 2 of 3 pairs
    assert curve == pytest.approx([57.166666, (2 * 50.5 + 90.5) / 3, 50.5])
    assert len(trials.frame([table], loaded.rows)) == 3
    assert table.scores["lora", table.columns[0]].mean == pytest.approx(50.5)
    assert trials.frame([table], loaded.rows[loaded.rows["lr"] == 1e-3]).empty
