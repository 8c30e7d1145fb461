"""What a run says of its time and memory before it starts and while it goes."""

from dataclasses import asdict, replace

import pytest

from benchmark.__main__ import main
from benchmark.core.cell import Cell
from benchmark.core.files import write_json
from benchmark.execution.display import Display
from benchmark.sweep import estimate
from benchmark.sweep.estimate import Estimate, Forecast, kind

CELL = Cell(
    dataset="d", data="f", backbone="b", weights="w", normalize="0,0,0/1,1,1", method="linear"
)
OTHER = replace(CELL, method="full")


def known(**seconds_per_step):
    found = Estimate()
    for name, seconds in seconds_per_step.items():
        found.known[kind(replace(CELL, method=name))].append((seconds, 512.0))
    return found


def test_the_sentence():
    cells = [replace(CELL, seed=s) for s in range(10)]
    told = estimate.sentence(cells, known(linear=0.6))  # 60.3 s each
    assert told == "predicted: 10 min for 10 cells, 0.5 GiB"
    assert estimate.sentence(cells, known(linear=0.6), jobs=4) == (
        "predicted: 3 min for 10 cells, 2.0 GiB"
    )
    assert estimate.sentence([CELL, OTHER], known(linear=0.1)) == (
        "predicted: 10 s for 1 cell, 0.5 GiB; nothing is known of 1 kind yet"
    )
    assert estimate.sentence([OTHER, replace(OTHER, seed=1)], Estimate()) == (
        "predicted: nothing is known of 1 kind yet; the first cell of each kind will tell"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_lengths(seconds, text):
    assert estimate.length(seconds) == text


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"lr": 0.5, "seed": 3, "fraction": 0.2, "steps": 7}, True),
        ({"augment": "none"}, False),  # features are kept there
        ({"views": 3}, False),
        ({"image_size": 98}, False),
        ({"precision": "bf16"}, False),
    ],
)
def test_kinds(change, same):
    assert (kind(replace(CELL, **change)) == kind(CELL)) == same


def test_a_cell_that_ended_tells_what_its_kind_will_take():
    cells = [replace(CELL, seed=s) for s in range(3)] + [OTHER]
    forecast = Forecast(list(cells), known(linear=100.0))
    assert forecast.left_s(None, 0, 0.0) == (3 * 100 * CELL.steps, 1)
    forecast.learn(cells[0], 50.0)  # faster than the old records said
    assert forecast.left_s(None, 0, 0.0) == (pytest.approx(2 * 50.0), 1)
    assert forecast.left_s(cells[1], 30, 20.0) == (pytest.approx(30.0 + 50.0), 1)
    forecast.drop(OTHER)
    assert forecast.left_s(None, 0, 0.0) == (pytest.approx(100.0), 0)


def test_a_kind_that_nothing_is_known_of_is_told_by_its_own_steps():
    forecast = Forecast([OTHER, replace(OTHER, seed=1)])
    assert forecast.left_s(OTHER, 0, 5.0) == (0.0, 1)
    left, strange = forecast.left_s(OTHER, OTHER.steps // 4, 5.0)  # 20 s for all of it
    assert (left, strange) == (pytest.approx(15.0 + 20.0), 0)


def test_the_display_tells_the_time_left_of_all_cells(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("benchmark.execution.display.time.perf_counter", lambda: clock[0])
    display = Display(Forecast([CELL, replace(CELL, seed=1), OTHER]))
    display.start(CELL)
    assert display.left(0) == "2 kinds of cells unknown"
    clock[0] = 30.0
    assert display.left(CELL.steps // 2) == "about 2 min left, 1 kind of cells unknown"
    display.fail(OTHER, "broken")
    assert display.left(CELL.steps // 2) == "about 2 min left"


def test_a_run_predicts_itself_from_the_records_in_its_folder(tmp_path, capsys):
    flags = ["run", "--backbones", "tiny_vit", "--methods", "linear", "--runs", str(tmp_path)]
    flags += ["--fractions", "0.1", "--image-size", "32", "--dry-run"]
    assert main(flags) == 0
    assert "predicted: nothing is known of 1 kind yet" in capsys.readouterr().out
    from benchmark.sweep.grid import Grid
    from benchmark.sweep.resolve import Resolver

    grid = Grid(("linear",), ("tiny_vit",), fractions=(0.4,), image_size=(32,), steps=(10,))
    (cell,) = Resolver().cells([grid])
    cost = {"train_s": 10.0, "peak_mib": 2048.0}
    write_json(tmp_path / "probes" / "x.json", {"cell": asdict(cell), "cost": cost})
    assert main(flags) == 0  # 80 steps of 1.1 s
    assert "predicted: 88 s for 1 cell, 2.0 GiB" in capsys.readouterr().out
