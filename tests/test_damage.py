"""Files of a cell that are damaged, or of another: named, never used, and the good ones are."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
import trees
from safetensors.torch import load_file, save_file

from benchmark.__main__ import main
from benchmark.core.files import open_arrays
from benchmark.core.record import read_record
from benchmark.core.registry import InputError

AXES = [
    "--backbones",
    "tiny_vit",
    "--fractions",
    "1.0",
    "--steps",
    "3",
    "--batch-size",
    "4",
    "--evaluations",
    "1",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tree of classes, and two cells of one method that differ in their seed."""
    folder = tmp_path_factory.mktemp("trained")
    for number in range(16):
        trees.picture(folder / "set" / "ab"[number % 2] / f"{number}.png", value=15 * number)
    assert train(folder, "--seeds", "0,1") == 0
    return folder


def train(folder, *flags):
    places = ["--datasets", str(folder / "set"), "--runs", str(folder / "runs")]
    return main(["run", "--methods", "bitfit", *places, *AXES, *flags])


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def cells(folder):
    return sorted(path.parent for path in (folder / "runs").rglob("cell.json"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 64
    path.write_bytes(bytes(content))


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "one bit": flip,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "folder": replace_by_folder,
    "pipe": replace_by_pipe,
}


def predict(folder, cell, capsys):
    image = next((folder / "set").rglob("*.png"))
    code = main(["predict", str(cell), str(image), "--out", str(folder / "out.csv")])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_delta_predicts_nothing(folder, capsys, damage):
    cell = cells(folder)[0]
    assert predict(folder, cell, capsys)[0] == 0
    DAMAGES[damage](cell / "delta.safetensors")
    code, error = predict(folder, cell, capsys)
    assert code == 2
    assert "delta.safetensors" in error
    assert error.count("\n") == 1


def test_the_delta_of_another_cell_predicts_nothing(folder, capsys):
    first, second = cells(folder)
    shutil.copy(second / "delta.safetensors", first)
    code, error = predict(folder, first, capsys)
    assert (code, "is damaged or of another cell" in error) == (2, True)


@pytest.mark.parametrize("kind", ["nan", "names"])
def test_a_delta_that_is_older_than_its_digest_is_still_looked_at(folder, capsys, kind):
    cell = cells(folder)[0]
    values = json.loads((cell / "record.json").read_text())
    del values["provenance"]["delta"]
    (cell / "record.json").write_text(json.dumps(values))
    assert predict(folder, cell, capsys)[0] == 0
    state = load_file(cell / "delta.safetensors")
    if kind == "nan":
        state = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
    else:
        state = {f"x{name}": tensor for name, tensor in state.items()}
    save_file(state, cell / "delta.safetensors")
    code, error = predict(folder, cell, capsys)
    assert (code, error.count("\n")) == (2, 1)


@pytest.mark.parametrize("damage", [*DAMAGES, "of another cell", "of another form"])
def test_a_damaged_checkpoint_costs_its_time_and_nothing_else(folder, capsys, damage):
    first, second = cells(folder)
    good = read_record(first / "record.json")
    (first / "record.json").unlink()
    checkpoint = first / "checkpoint.pt"
    frame = {"cell": first.name, "digest": "0" * 64, "progress": {}, "state": {}, "optimizer": {}}
    if damage == "of another cell":
        frame["cell"] = second.name
    torch.save([1, 2] if damage == "of another form" else frame, checkpoint)
    if damage in DAMAGES:
        DAMAGES[damage](checkpoint)
    if damage in ("folder", "pipe"):  # nothing of ours: a person looks at it
        assert train(folder, "--seeds", "0,1") in (0, 1)
    else:
        assert train(folder, "--seeds", "0,1") == 0
    told = capsys.readouterr().err
    assert "checkpoint.pt cannot be used" in told
    assert "the cell starts anew" in told
    if (first / "record.json").exists():
        again = read_record(first / "record.json")
        assert (again.val, again.test, again.history) == (good.val, good.test, good.history)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_predictions_hide_no_good_ones(folder, capsys, damage):
    first, _ = cells(folder)
    DAMAGES[damage](first / "predictions.npz")
    flags = ["report", "--runs", str(folder / "runs"), "--out", str(folder / "out")]
    assert main([*flags, "--rescore", "--figures", "confusion,reliability"]) == 0
    error = capsys.readouterr().err
    assert f"not scored: {first}/predictions.npz is not whole" in error
    assert (folder / "out" / "table.csv").exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {"test_probs": np.zeros((3, 2)), "test_labels": np.zeros(2, int)},
        {"test_probs": np.full((2, 2), np.nan), "test_labels": np.zeros(2, int)},
        {"test_probs": np.zeros((2, 2)), "test_labels": np.array([0, 100])},
        {"test_labels": np.array([{}, {}], dtype=object)},
    ],
)
def test_predictions_that_make_no_sense(folder, capsys, arrays):
    for cell in cells(folder):
        np.savez(cell / "predictions.npz", **arrays)
    assert main(["report", "--runs", str(folder / "runs"), "--rescore", "--figures", "all"]) == 0
    error = capsys.readouterr().err
    assert error.count("not scored: ") == 2
    assert "Traceback" not in error


def test_one_array_is_no_archive(tmp_path):
    with (tmp_path / "x.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(InputError, match=r"x\.npz is not whole .*; do it again"):  # noqa: SIM117
        with open_arrays(tmp_path / "x.npz", "do it again"):
            pass


@pytest.mark.parametrize("text", ["", "{}", "null", '{"schema": 1}'])
def test_status_does_not_call_an_unreadable_record_done(folder, capsys, text):
    first, _ = cells(folder)
    (first / "record.json").write_text(text)
    assert main(["status", "--runs", str(folder / "runs")]) == 1
    shown = capsys.readouterr().out
    assert "1 done" in shown
    assert "1 unreadable" in shown
    assert str(first / "record.json") in shown


@pytest.mark.parametrize("name", ["peek.json", "external/other.json"])
@pytest.mark.parametrize("value", [[], None, {"key": 5}, {"metric": 5}, "of its cell"])
def test_odd_files_beside_a_record_are_named(folder, capsys, name, value):
    first, _ = cells(folder)
    key = first.name.rpartition("-")[2]
    if value == "of its cell":
        value = {"key": key, "metric": 5, "selected": 1.0, "steps": [], "test": {}}
        value |= {"dataset": "other", "images": 3}
    (first / name).parent.mkdir(exist_ok=True)
    (first / name).write_text(json.dumps(value))
    assert main(["report", "--runs", str(folder / "runs"), "--format", "csv"]) == 0
    assert f"not used: {first / name} " in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_hides_no_other(folder, capsys):
    first, _ = cells(folder)
    shutil.rmtree(first)
    first.symlink_to(first)  # nobody can enter it, whatever their rights
    assert main(["status", "--runs", str(folder / "runs")]) in (1, 3)
    assert "1 done" in capsys.readouterr().out
    assert main(["report", "--runs", str(folder / "runs"), "--format", "csv"]) in (0, 1)
    assert train(folder, "--seeds", "0,1") == 1
    assert "cannot write in" in capsys.readouterr().err
