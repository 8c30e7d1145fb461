"""The index of a runs folder: never the truth, never a wrong number."""

import dataclasses
import json
import os
import time

import pandas as pd
import pytest
from test_guards import put
from test_spec import make_cell

from benchmark.core import files
from benchmark.core.files import write_json
from benchmark.core.record import touch
from results import frame
from results.frame import index, rows, scan


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Six old records, one failed cell and an index that is worth its while from one record on."""
    monkeypatch.setattr(index, "FEWEST", 1)
    for seed in range(6):
        age(put(tmp_path, seed / 10, seed=seed))
    failed = make_cell(method="failed")
    write_json(failed.folder(tmp_path) / "cell.json", dataclasses.asdict(failed))
    (failed.folder(tmp_path) / "error.txt").write_text("because\n")
    frame.load([tmp_path])
    assert (tmp_path / index.INDEX).exists()
    return tmp_path


def age(path, seconds=100):
    then = time.time() - seconds
    os.utime(path, (then, then))


def plain(runs, monkeypatch):
    """Return the frame as the records alone say."""
    with monkeypatch.context() as patch:
        patch.setattr(index, "_read", lambda runs: (pd.DataFrame(columns=index._OWN), []))
        patch.setattr(index, "_write", lambda runs, done: None)
        return frame.load([runs]).rows


def opened(monkeypatch):
    """Return a list that notes every record that is read."""
    names, real = [], rows.done
    monkeypatch.setattr(rows, "done", lambda folder: names.append(folder) or real(folder))
    return names


def test_the_frame_is_the_same_with_and_without_it_and_nothing_is_read(runs, monkeypatch):
    expected = plain(runs, monkeypatch)
    names = opened(monkeypatch)
    found = frame.load([runs])
    pd.testing.assert_frame_equal(found.rows, expected)
    assert found.rows["state"].value_counts().to_dict() == {"done": 6, "failed": 1}
    assert isinstance(found.done["classes"].iloc[0], tuple)
    assert (names, found.notes) == ([], ())


def test_only_what_is_new_or_changed_is_read(runs, monkeypatch):
    names = opened(monkeypatch)
    new = put(runs, 0.9, seed=7)
    changed = put(runs, 0.8, seed=0)
    gone = make_cell(seed=1).folder(runs) / "record.json"
    gone.unlink()
    found = frame.load([runs]).done.set_index("seed")["test_kappa"]
    assert sorted(names) == sorted(str(path.parent) for path in (new, changed))
    assert found.to_dict() == {0: 0.8, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5, 7: 0.9}


def test_an_edit_of_the_same_size_in_place_is_seen(runs):
    path = make_cell(seed=3).folder(runs) / "record.json"
    text = path.read_text()
    path.write_text(text.replace('"kappa": 0.3', '"kappa": 0.7'))
    assert len(path.read_text()) == len(text)
    assert 0.7 in set(frame.load([runs]).rows["test_kappa"])


def test_a_record_that_is_damaged_later_is_a_fault_again_and_again(runs):
    path = make_cell(seed=3).folder(runs) / "record.json"
    path.write_text(path.read_text()[:40])
    for _ in range(2):
        found = frame.load([runs])
        assert len(found.faults) == 1
        assert len(found.done) == 5


def test_scores_computed_later_are_seen(runs):
    folder = make_cell(seed=3).folder(runs)
    (folder / "rescored.json").write_text('{"val": {"ece": 0.1}, "test": {"ece": 0.2}}')
    touch(folder)
    assert set(frame.load([runs]).done["test_ece"].dropna()) == {0.2}


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign", "empty"])
def test_a_damaged_or_foreign_index_is_made_anew_with_one_sentence(runs, monkeypatch, damage):
    path = runs / index.INDEX
    body = path.read_bytes()
    if damage == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        flipped = bytearray(body)
        flipped[200] ^= 255
        path.write_bytes({"cut": body[:-100], "flip": bytes(flipped), "empty": b""}[damage])
    expected = plain(runs, monkeypatch)
    found = frame.load([runs])
    pd.testing.assert_frame_equal(found.rows, expected)
    (note,) = found.notes
    assert str(path) in note
    assert note.endswith("all records were read again")
    assert frame.load([runs]).notes == ()


def test_young_records_are_left_out_of_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "FEWEST", 1)
    put(tmp_path, 0.5)
    frame.load([tmp_path])
    names = opened(monkeypatch)
    frame.load([tmp_path])
    assert len(names) == 1  # a second write within the clock's tick would look alike


def test_few_new_records_do_not_rewrite_it(runs, monkeypatch):
    monkeypatch.setattr(index, "SHARE", 0.5)
    before = (runs / index.INDEX).stat().st_mtime_ns
    put(runs, 0.9, seed=8)
    frame.load([runs])
    assert (runs / index.INDEX).stat().st_mtime_ns == before


def test_a_small_folder_gets_no_index_and_a_moved_one_keeps_its_own(runs, tmp_path_factory):
    small = tmp_path_factory.mktemp("small")
    put(small, 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "FEWEST", 1000)
        frame.load([small])
    assert [path.name for path in small.iterdir()] == ["phantom_grading"]
    moved = runs.rename(small / "moved")
    found = frame.load([moved])
    assert found.rows["folder"].str.startswith(str(moved)).all()


def test_an_index_that_cannot_be_written_is_no_fault(runs, monkeypatch):
    (runs / index.INDEX).unlink()

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(files.Path, "touch", refuse)
    found = frame.load([runs])
    assert (len(found.done), found.faults, found.notes) == (6, (), ())
    assert not (runs / index.INDEX).exists()


def test_the_scan_finds_what_a_walk_finds(runs):
    odd = runs / "copied" / "by hand"
    odd.mkdir(parents=True)
    source = make_cell(seed=2).folder(runs) / "record.json"
    (odd / "record.json").write_text(source.read_text())
    (runs / "cache" / "features-0123456789abcdef").mkdir(parents=True)
    found = {f.folder for f in scan.scan(runs) if f.size >= 0}
    assert found == {str(path.parent) for path in runs.rglob("record.json")}
    undone = {f.folder for f in scan.scan(runs) if f.size < 0}
    assert undone == {str(make_cell(method="failed").folder(runs))}
    assert json.loads(source.read_text())["key"] in source.parent.name


@pytest.mark.parametrize("value", [1.5, 71.0, -1.2])
def test_a_score_that_cannot_be_is_a_fault(tmp_path, value):
    put(tmp_path, 0.5, seed=0)
    put(tmp_path, value, seed=1)
    loaded = frame.load([tmp_path])
    assert len(loaded.done) == 1
    assert f"{value:g}, which cannot be" in loaded.faults[0]
