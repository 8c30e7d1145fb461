import json
import shutil

import numpy as np
from test_run import flags, made  # noqa: F401 - a fixture

from benchmark.__main__ import main


def one(folder, name="record.json"):
    (path,) = folder.rglob(name)
    return json.loads(path.read_text())


def test_a_cell_is_scored_on_its_own_test_images_as_it_was(made, tmp_path, capsys):  # noqa: F811
    """An external set that is the cell's own test part must give the cell's own score."""
    runs, other = tmp_path / "runs", tmp_path / "other"
    changes = {"methods": "lora(rank=4)", "fractions": "1.0"}
    assert main(flags(made, runs, **changes)) == 0
    (folder,) = (path.parent for path in runs.rglob("record.json"))
    with np.load(folder / "predictions.npz") as stored:
        names = set(stored["test_ids"].tolist())
    shutil.copytree(made / "class", other)
    lines = (other / "manifest.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if line.split(",")[0] in names]
    (other / "manifest.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    capsys.readouterr()
    assert main([*flags(made, runs, **changes), "--test-on", str(other)]) == 0
    printed = capsys.readouterr().out
    assert "1 cells were tested on" in printed
    assert "External test sets" in printed
    found = json.loads((folder / "external" / "other.json").read_text())
    assert found["images"] == len(names)
    own = one(runs)["test"]
    assert {name: found["test"][name] for name in own if name != "loss"} == {
        name: value for name, value in own.items() if name != "loss"
    }


def test_other_classes_are_refused_and_nothing_is_written(made, tmp_path, capsys):  # noqa: F811
    runs, other = tmp_path / "runs", tmp_path / "other"
    shutil.copytree(made / "class", other)
    text = (other / "manifest.csv").read_text()
    (other / "manifest.csv").write_text(text.replace("bright", "white"))
    changes = {"methods": "linear", "fractions": "1.0"}
    assert main([*flags(made, runs, **changes), "--test-on", str(other)]) == 2
    told = capsys.readouterr().err
    assert "cannot test what 'class' trained" in told
    assert "('dark', 'white'), not ('bright', 'dark')" in told
    assert not runs.exists()  # told before any training
