"""Faults of a user's own files that show only when they are read."""

import numpy as np
import pytest
from PIL import Image

from benchmark.__main__ import main


@pytest.fixture
def tree(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(20):
        path = tmp_path / "data" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    return tmp_path / "data"


def run(tree, runs, *flags, method="linear", steps=2):
    axes = f"--methods {method} --backbones tiny_vit --fractions 1.0 --steps {steps}"
    places = ["--datasets", str(tree), "--runs", str(runs)]
    return main(["run", *axes.split(), "--evaluations", "1", *places, *flags])


@pytest.mark.parametrize("flags", [[], ["--executor", "local", "--jobs", "1"]])
def test_half_an_image_is_told_before_any_training(tree, tmp_path, capsys, flags):
    whole = (tree / "a" / "0.png").read_bytes()
    (tree / "a" / "0.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    assert run(tree, tmp_path / "runs", *flags) == 2
    error = capsys.readouterr().err
    assert "cannot read the image" in error
    assert "0.png" in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "runs").rglob("cell.json"))
    (tree / "a" / "0.png").write_bytes(whole)
    assert run(tree, tmp_path / "runs", *flags) == 0


def test_when_every_cell_fails_the_table_says_so(tree, tmp_path, capsys):
    assert run(tree, tmp_path / "runs", "--lr", "1e30", method="full", steps=6) == 1
    shown = capsys.readouterr()
    assert "failed" in shown.out.split("files in")[0]
    assert f"failed: {tmp_path / 'runs'}/data/tiny_vit/full" in shown.err
    assert main(["report", "--runs", str(tmp_path / "runs"), "--efficiency"]) == 0
    assert (tmp_path / "runs" / "report" / "report.html").exists()
