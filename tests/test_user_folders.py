"""Folders that the user names keep what is the user's; records are only read."""

import json

import numpy as np
import pytest
import trees
from test_guards import put

from benchmark.__main__ import main
from benchmark.core.cell import Cell
from benchmark.core.files import filled
from benchmark.core.registry import InputError
from benchmark.data import open_dataset


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def fill(folder, texts, known=()):
    with filled(folder, known) as made:
        for name, text in texts.items():
            (made / name).write_text(text)


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path):
    out = tmp_path / "new"
    with pytest.raises(InputError, match="cannot write in"):
        fill(out, {"a.txt": "a", "no/folder": "b"})
    assert list(tmp_path.iterdir()) == []
    for text in ("a", "b"):  # what was made before is replaced
        fill(out, {"a.txt": text})
    assert (out / "a.txt").read_text() == "b"
    assert sorted(p.name for p in out.iterdir()) == ["a.txt", "made.json"]


@pytest.mark.parametrize("before", ["written by the user", "edited by the user"])
def test_what_the_user_wrote_or_edited_stays(tmp_path, before):
    if before.startswith("edited"):
        fill(tmp_path, {"a.txt": "a"})
    (tmp_path / "a.txt").write_text(before)
    names = sorted(tmp_path.iterdir())
    for known in ([], ["a.txt"]):  # at the end, or before any work
        with pytest.raises(InputError, match="is not what this program wrote"):
            fill(tmp_path, {"a.txt": "new", "b.txt": "new"}, known)
    assert (tmp_path / "a.txt").read_text() == before
    assert sorted(tmp_path.iterdir()) == names


def test_a_report_replaces_no_file_of_a_paper(tmp_path, capsys):
    runs, paper = tmp_path / "runs", tmp_path / "paper"
    put(runs, 0.5)
    paper.mkdir()
    (paper / "citations.bib").write_text("@misc{mine}")
    assert main(["report", "--runs", str(runs), "--out", str(paper)]) == 2
    assert f"{paper}/citations.bib' exists, and is not what" in capsys.readouterr().err
    assert content(paper) == {"citations.bib": b"@misc{mine}"}
    for _ in range(2):
        assert main(["report", "--runs", str(runs), "--out", str(tmp_path / "other")]) == 0


@pytest.mark.parametrize("method", ["colours:Cls", "linear+colours:Cls(x=1)"])
@pytest.mark.parametrize("flag", [["--latency"], ["--panels", "1"], ["--rescore"], []])
def test_a_report_only_reads_records_and_runs_nothing_that_they_name(
    tmp_path, monkeypatch, method, flag
):
    runs, ran = tmp_path / "runs", tmp_path / "ran"
    path = put(runs, 0.5, backbone="tiny_vit")
    values = json.loads(path.read_text())
    values["cell"]["method"] = method
    values["key"] = Cell.from_dict(values["cell"]).key
    path.write_text(json.dumps(values))
    (tmp_path / "colours.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = content(runs)
    code = main(["report", "--runs", str(runs), "--out", str(tmp_path / "out"), *flag])
    assert code == (2 if flag == ["--latency"] else 0)
    assert not ran.exists()
    assert content(runs) == before


def test_times_and_pictures_go_into_the_report(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "out"
    put(runs, 0.5, backbone="tiny_vit", method="linear", image_size=32)
    before = content(runs)
    assert main(["report", "--runs", str(runs), "--out", str(out), "--latency"]) == 0
    assert json.loads((out / "latency.json").read_text())["rows"][0]["method"] == "linear"
    assert content(runs) == before


@pytest.fixture
def classes(tmp_path):
    for number in range(12):
        trees.picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", value=20 * number)
    return tmp_path / "set"


@pytest.mark.parametrize("verb", ["show", "prepare"])
def test_nothing_is_written_into_a_tree_of_classes(classes, monkeypatch, capsys, verb):
    monkeypatch.chdir(classes)
    assert main(["data", verb, "."]) == 2
    assert "lies inside the data '.', whose folders are classes" in capsys.readouterr().err
    assert sorted(path.name for path in classes.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("inside", ["", "new"])
def test_groups_are_not_written_over_the_data(tmp_path, capsys, inside):
    data = tmp_path / "set"
    rng = np.random.default_rng(0)
    rows = ["image,mask"]
    for number in range(8):
        trees.picture(data / f"{number}.png", value=int(rng.integers(255)))
        trees.mask(data / "masks" / f"{number:06d}.png", value=1)
        rows.append(f"{number}.png,masks/{number:06d}.png")
    trees.text(data / "manifest.csv", *rows)
    before = content(data)
    flags = ["data", "prepare", str(data / "manifest.csv"), "--group-duplicates", "--out"]
    code = main([*flags, str(data / inside)])
    assert {name: body for name, body in content(data).items() if name in before} == before
    if not inside:
        assert code == 2
        assert "lies in --out" in capsys.readouterr().err
        return
    grouped = content(data / inside)
    flags[2] = str(data / inside / "manifest.csv")
    assert main([*flags, str(data / inside)]) == 2  # it would read what it replaces
    assert content(data / inside) == grouped


def test_images_outside_of_the_folder_of_a_manifest_have_names_of_their_own(tmp_path):
    """Relative or absolute, and not taken for one inside that is called alike."""
    trees.picture(tmp_path / "set/a.png", value=1)
    trees.picture(tmp_path / "pool/a.png", value=2)
    trees.picture(tmp_path / "pool/b/c.png", value=3)
    found = []
    for pool in ("../pool", tmp_path / "pool"):
        rows = ("a.png,x", f"{pool}/a.png,y", f"{pool}/b/c.png,y")
        trees.text(tmp_path / "set/manifest.csv", "image,label", *rows)
        found.append(open_dataset(str(tmp_path / "set")))
    assert found[0].ids == found[1].ids == ("a.png", "pool/a.png", "b/c.png")
    assert found[0].fingerprint == found[1].fingerprint
