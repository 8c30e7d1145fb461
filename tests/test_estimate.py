"""What a run says of its time and memory before it starts and while it goes."""

import io
from dataclasses import asdict, replace

import pytest
from rich.console import Console
from rich.text import Text

from benchmark.__main__ import main
from benchmark.core.cell import Cell
from benchmark.core.files import write_json
from benchmark.execution.display import Display
from benchmark.execution.one import Outcome
from benchmark.execution.train import num_jobs
from benchmark.sweep import estimate
from benchmark.sweep.estimate import Estimate, Forecast, kind, length

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
        "predicted: nothing is known of 1 kind yet; the first cell of each kind shows it"
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


def test_the_display_shows_the_time_left_of_all_cells(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("benchmark.execution.display.time.perf_counter", lambda: clock[0])
    display = Display(Forecast([CELL, replace(CELL, seed=1), OTHER]))
    left = lambda: display.progress.tasks[0].fields["left"]  # noqa: E731
    display.start(CELL)
    assert left() == ""
    clock[0] = 60.0
    display.step(1)  # the first step is slow and says nothing of the others
    assert left() == ""
    clock[0] = 70.0
    display.step(11)
    assert left() == f"over {length(2 * CELL.steps - 11)} left"
    display.end(Outcome(OTHER, "failed", "broken"))
    display.step(11)
    assert left() == f"{length(2 * CELL.steps - 11)} left"


def test_a_line_of_progress_fits_100_columns_and_says_what_differs():
    long = replace(CELL, method="lora(rank=8,alpha=8.0,targets=q+v)", steps=100_000)
    cells = [long, replace(long, method="lora(rank=4,alpha=8.0,targets=q+v)")]
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    display = Display(Forecast(cells), console)
    display.start(long)
    display.step(1)
    display.progress.update(display.task, left="over 12.3 h left")
    console.print(display.progress.get_renderable())
    (line,) = console.file.getvalue().rstrip().splitlines()
    text = Text.from_ansi(line).plain
    assert len(text) <= 100
    assert text.startswith("[1/2] lora(rank=8)")
    assert "alpha" not in text
    assert text.rstrip().endswith("1/100000 over 12.3 h left")
    assert text.count("\u2501") + text.count("\u2578") >= 10


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


@pytest.mark.parametrize(
    ("card_mib", "cell_mib", "number"),
    [
        (81_920, 2_000, 3),  # room for 16, and no more than three are of use
        (24_576, 3_000, 2),  # half of 24.6 GB, 5.5 each
        (24_576, 5_000, 1),
        (16_384, 20_000, 1),
    ],
)
def test_as_many_processes_share_a_gpu_as_its_memory_holds(card_mib, cell_mib, number):
    assert estimate.packed(card_mib, cell_mib) == number


def on_gpu(folder, name, cell, peak, **hardware):
    found = {"gpu": "G", "memory_mib": 24_576, "compute_mode": "Default", **hardware}
    told = {"cell": asdict(cell), "cost": {"train_s": 10.0, "peak_mib": peak}}
    write_json(folder / name / "record.json", told | {"provenance": {"hardware": found}})


def test_cells_share_a_gpu_where_records_of_all_kinds_allow_it(tmp_path, monkeypatch):
    on_gpu(tmp_path / "a", "one", CELL, 2000.0)
    on_gpu(tmp_path / "a", "two", replace(CELL, seed=1), 3000.0)  # the larger one counts
    on_gpu(tmp_path / "a", "zzz", replace(CELL, seed=2), 2000.0, memory_mib=81_920)
    known = estimate.read(tmp_path / "a")
    number, why = known.pack([CELL])  # on the smaller card, whichever record is read last
    assert (number, why) == (2, "2 processes share a GPU: a cell takes 2.9 of its 24 GiB")
    assert known.pack([CELL, OTHER]) == (1, "")  # of the other kind nothing is known
    on_gpu(tmp_path / "b", "one", CELL, 3000.0, compute_mode="Exclusive_Process")
    assert estimate.read(tmp_path / "b").pack([CELL]) == (1, "")
    on_gpu(tmp_path / "c", "one", CELL, 3000.0, memory_mib=None)  # an old record
    assert estimate.read(tmp_path / "c").pack([CELL]) == (1, "")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert num_jobs("local", "auto", 100, number) == 4
    assert num_jobs("local", None, 100, number) == 2  # alone on each unless asked for
    assert num_jobs("local", 3, 100, number) == 3
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert num_jobs("local", "auto", 100, number) == num_jobs("local", None, 100, number) == 2
    assert num_jobs("inline", None, 100, number) == 1
