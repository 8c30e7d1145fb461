"""Training until validation stops improving, from flags to captions; rates of earlier trials."""

import dataclasses
import json

import pytest
from test_regime import put
from test_run import flags, made  # noqa: F401 - a fixture
from test_spec import make_cell

from benchmark.__main__ import main
from benchmark.core.record import RECORD, read_record, write_record
from benchmark.core.registry import InputError
from benchmark.core.settings import chosen
from benchmark.sweep import estimate
from benchmark.sweep.grid import CONVERGED, Grid
from benchmark.sweep.resolve import Resolver
from benchmark.sweep.suites import request, suites
from benchmark.sweep.tuning import read_chosen
from results import frame, tables
from results.costs import ledger

SHORT = ["--patience", "2", "--max-steps", "24", "--evaluations", "12", "--lr", "0.3"]


def without_steps(made, runs, **changes):  # noqa: F811
    """Return the flags of a run that says nothing of its length."""
    found = flags(made, runs, **changes)
    for name in ("--steps", "--evaluations"):
        if name in found:
            place = found.index(name)
            del found[place : place + 2]
    return found


def test_until_converged_from_the_command_line_to_the_caption(made, tmp_path, capsys):  # noqa: F811
    arguments = [*without_steps(made, tmp_path, methods="linear,knn", fractions="1.0"), *SHORT]
    assert main([*arguments, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert "until converged: 2 evaluations without a gain, at most 24 steps" in planned
    assert main(arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Trained until converged: until 2 evaluations in a row were no better" in shown
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    for record in records:
        done, history = record["cost"]["steps_done"], record["history"]
        if record["cell"]["method"].startswith("knn"):
            assert (done, len(history)) == (0, 1)  # it trains in no steps
            continue
        assert history[-1]["step"] == done
        ends = [p["step"] for p in history]
        assert ends == [2 * (i + 1) for i in range(len(ends))]
        assert done <= 24
        assert record["cell"]["patience"] == 2
    # what was learnt of its length is what the next cell of its kind is predicted by
    known = estimate.read(tmp_path)
    (linear,) = (r for r in records if r["cell"]["method"].startswith("linear"))
    cell = dataclasses.replace(make_cell(), **linear["cell"])
    assert known.steps(cell) == linear["cost"]["steps_done"]
    assert known.steps(dataclasses.replace(cell, steps=48)) is None


def test_segmentation_trains_until_it_converges(made, tmp_path):  # noqa: F811
    masks = {"datasets": f"{made}/mask/manifest.csv", "fractions": "1.0", "methods": "bitfit"}
    masks |= {"batch-size": "4", "lr": "0.01"}
    assert main([*without_steps(made, tmp_path, **masks), *SHORT[:6]]) == 0
    (path,) = tmp_path.rglob("record.json")
    record = json.loads(path.read_text())
    done, ends = record["cost"]["steps_done"], [p["step"] for p in record["history"]]
    assert ends[-1] == done
    scores = [(p["val_dice"], -p["val_loss"]) for p in record["history"]]
    best = 0  # by the definition: two evaluations no better than the best end the constant rate
    for i, score in enumerate(scores):
        best = i if score > scores[best] else best
        if i - best >= 2 or i == 9:
            break
    assert done == 2 * (i + 1 + 2)


def test_the_flag_alone_brings_patience_maximum_and_evaluations():
    (grid,) = request({}, until_converged=True)
    assert {name: getattr(grid, name) for name in CONVERGED} == CONVERGED
    (grid,) = request({"steps": "400", "patience": "3"}, until_converged=True)
    assert (grid.steps, grid.patience, grid.evaluations) == ((400,), (3,), (40,))
    (grid, *_) = request({}, suite="paper", until_converged=True)
    assert (grid.epochs, grid.steps) == ((None,), (2000,))
    (grid, *_) = request({"epochs": "30"}, until_converged=True)
    assert grid.epochs == (30.0,)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-steps", "9"], "is for --until-converged; write --steps"),
        (["--max-steps", "9", "--steps", "9", "--until-converged"], "the same axis"),
        (["--patience", "3", "--steps", "80", "--evaluations", "5"], "for 6 or more evaluations"),
        (["--patience", "-1"], "patience -1 must be a whole number of 0 or more"),
        (["--until-converged", "--max-steps", "8"], "and there are 8"),
        (["--tuned-from", "nowhere"], "no folder 'nowhere' with records of trials"),
        (["--tuned-from", ".", "--tune-budget", "3"], "give one"),
        (["--tuned-from", "RUNS/."], "names the runs folder"),
    ],
)
def test_bad_lengths_are_one_sentence(arguments, expected, tmp_path, capsys):
    base = ["run", "--backbones", "tiny_vit", "--runs", str(tmp_path), "--dry-run"]
    assert main([*base, *(a.replace("RUNS", str(tmp_path)) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") <= 2


def test_a_prediction_says_where_it_is_a_bound():
    cell = make_cell(steps=100, patience=2, evaluations=10)
    known = estimate.Estimate()
    known.add(make_cell(steps=10), 20.0, 0.0)  # 2 s in each step, of equal steps
    assert known.seconds(cell) == 200.0
    told = estimate.sentence([cell], known)
    assert told == "predicted: at most 3 min for 1 cell"
    known.add(dataclasses.replace(cell, seed=1), 60.0, 0.0, 30)
    assert known.seconds(cell) == 60.0
    assert "at most" not in estimate.sentence([cell], known)


def test_rates_are_taken_from_earlier_trials(tmp_path):
    resolver = Resolver()
    (default,) = resolver.cells([Grid(("lora",), ("tiny_vit",))])[:1]
    names = {name: getattr(default, name) for name in ("dataset", "backbone", "method")}
    trials = {(1e-3, 0.1): (0.5, 0.7), (1e-2, 0.0): (0.6, 0.65), (1e-4, 0.0): (0.9, 0.1)}
    for (lr, decay), scores in trials.items():
        for seed, score in enumerate(scores):
            values = {"lr": lr, "weight_decay": decay, "seed": 90 + seed, **names}
            put(tmp_path, [score, 0.0], **values)
            # a field of the method that was tuned is another trial, and a better one at this rate
            if lr == 1e-2:
                put(tmp_path, [score + 0.01, 0.0], **values, tuned="alpha=2.0")
    grid = Grid(("lora", "knn"), ("tiny_vit",), fractions=(0.1, 1.0), seeds=(0, 1))
    tuned = Resolver(earlier=read_chosen(tmp_path)).cells([grid])
    own = [c for c in tuned if c.method.startswith("lora")]
    # .635 against .625, .6 and .5
    assert {(c.lr, c.weight_decay, c.tuned) for c in own} == {(1e-2, 0.0, "alpha=2.0")}
    assert len(own) == 4
    behind = read_chosen(tmp_path).earlier[chosen(own[0])]
    assert {name: behind[name] for name in ("trials", "runs", "seeds", "rates")} == {
        "trials": 4,  # three rates, one of them with another field as well
        "runs": 8,
        "seeds": [90, 91],
        "rates": [1e-4, 1e-3, 1e-2],
    }
    (named, *_) = Resolver(earlier=read_chosen(tmp_path)).cells(
        [dataclasses.replace(grid, lr=(0.5,))]
    )
    assert named.lr == 0.5  # what is named is taken
    with pytest.raises(InputError, match="no finished trial of linear of tiny_vit"):
        Resolver(earlier=read_chosen(tmp_path)).cells([Grid(("linear",), ("tiny_vit",))])
    put(tmp_path, [0.5, 0.1], **{**names, "lr": 1e-3, "weight_decay": 0.1, "seed": 99})
    with pytest.raises(InputError, match="not run on the same fractions and seeds"):
        read_chosen(tmp_path)


def test_earlier_trials_are_counted_with_those_of_a_table(tmp_path):
    """A method that was tuned longer elsewhere is named, with the time that its search took."""
    for method, trials, rates in (("linear", 4, [1e-4, 1e-3, 1e-2, 1e-1]), ("lora", 9, [1e-3])):
        for seed in (0, 1):
            values = {"method": method, "seed": seed, "lr": rates[-1]}
            put(tmp_path, [0.5, 0.6], **values)
            folder = make_cell(**values).folder(tmp_path)
            record = read_record(folder / RECORD)
            told = {"trials": trials, "runs": trials, "train_s": 60.0, "rates": rates}
            told |= {"fractions": [0.4], "seeds": [90], "steps": [100]}
            provenance = {**record.provenance, "earlier": told}
            write_record(folder, dataclasses.replace(record, provenance=provenance))
    loaded = frame.load([tmp_path])
    (table,) = tables.build(loaded)
    assert "trials per entry: linear 4; lora 9 (not equally tuned)" in table.caption
    assert "by earlier trials, on 40% of the labels, seed 90, 100 steps" in table.caption
    assert "linear on phantom_grading 100% lr 0.1, the highest of 4" in table.caption
    for entry in ledger.build(loaded, table).entries:
        assert entry.searched == pytest.approx(entry.seconds + 60 / 2)


def test_a_record_tells_of_the_trials_that_chose_its_rate(made, tmp_path):  # noqa: F811
    first, then = tmp_path / "trials", tmp_path / "runs"
    arguments = flags(made, first, methods="linear", fractions="1.0", steps="4", evaluations="1")
    assert main([*arguments, "--seeds", "90", "--tune-budget", "3"]) == 0
    arguments[arguments.index("--runs") + 1] = str(then)
    assert main([*arguments, "--tuned-from", str(first), "--executor", "local"]) == 0
    (record,) = (read_record(path) for path in then.rglob("record.json"))
    told = record.provenance["earlier"]
    assert (told["trials"], told["seeds"], told["steps"]) == (3, [90], [4])
    assert record.cell.lr in told["rates"]


def test_the_reference_suite_is_complete_for_its_first_methods_first():
    (grid, *controls) = suites["reference"]()
    assert grid.methods[:4] == ("linear", "lora", "dvpt", "full")
    assert len(grid.seeds) == 3
    assert {g.patience for g in (grid, *controls)} == {CONVERGED["patience"]}
    cells = Resolver().cells(
        [dataclasses.replace(grid, datasets=("phantom_grading", "phantom_lesions"))]
    )
    order = list(dict.fromkeys(cell.method.partition("(")[0] for cell in cells))
    assert order[:4] == ["linear", "lora", "dvpt", "full"]
    # all that a method is in stands together: no seed of a later method comes before
    assert [c.method for c in cells] == sorted(
        (c.method for c in cells), key=lambda m: [c.method for c in cells].index(m)
    )
    assert len(cells) == len(grid.methods) * 2 * 3 * 3
