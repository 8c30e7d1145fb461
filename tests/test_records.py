"""Records: every field of another type is one sentence that names the file; old ones are read."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_results import make_record
from test_spec import make_cell

from benchmark.core.cell import Cell
from benchmark.core.record import find_records, read_record, read_records, write_record
from benchmark.core.registry import InputError

RESULTS = Path(__file__).parent.parent / "results"
FULL = {"classes": ("a", "b"), "task": "classification", "ordinal": True, "train": 8, "val": 2}


def full_record(**cell):
    record = make_record(make_cell(**cell), 0.5, **FULL)
    return replace(
        record,
        history=[{"step": 4, "train_loss": 0.5, "val_kappa": None}],
        provenance={
            "git_sha": None,
            "git_dirty": False,
            "packages": {"torch": "2"},
            "hardware": {"gpu": None, "threads": 2},
            "sources": {"data": {"citation": "x"}},
        },
    )


def leaves(values, place=()):
    """Yield the place of every value in nested JSON, objects and lists included."""
    yield place
    if isinstance(values, dict | list):
        names = values if isinstance(values, dict) else range(len(values))
        for name in names:
            yield from leaves(values[name], (*place, name))


VALUES = json.loads(json.dumps(full_record().to_json()))
FREE = [("provenance", "hardware"), ("provenance", "sources", "data")]  # open inside
PLACES = [
    place
    for place in leaves(VALUES)
    if place and not any(place[: len(free)] == free and place != free for free in FREE)
]


def allowed(place, value):
    """The types that a field may have: those of its value, for scores numbers and null."""
    if (place[0] in ("val", "test") and len(place) == 2) or (
        place[0] == "history" and len(place) == 3
    ):
        return {int, float, type(None)}
    if place[:2] in (("provenance", "git_sha"), ("provenance", "git_dirty")):
        return {type(None), str if place[1] == "git_sha" else bool}
    return {int, float} if type(value) is float else {type(value)}


def written(folder, place, value):
    values = json.loads(json.dumps(VALUES))
    inner = values
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path = folder / "record.json"
    path.write_text(json.dumps(values))
    return path


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = full_record()
    assert read_record(write_record(tmp_path, record)) == record


@pytest.mark.parametrize("place", PLACES, ids=lambda p: ".".join(map(str, p)))
def test_a_value_of_another_type_is_one_sentence_with_the_file(tmp_path, place):
    old = VALUES
    for name in place:
        old = old[name]
    for other in ("x", 7, 0.5, True, None, [], {}, [[1]], {"a": {}}):
        if type(other) in allowed(place, old):
            continue
        with pytest.raises(InputError) as caught:
            read_record(written(tmp_path, place, other))
        assert str(tmp_path / "record.json") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train_s", "delta_bytes", "peak_mib", "micro_batch"])
def test_costs_are_not_negative(tmp_path, name):
    with pytest.raises(InputError, match=rf"record.json .*cost.{name} -1 must be .* 0 or more"):
        read_record(written(tmp_path, ("cost", name), -1))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("fraction", 7.5, "a number above 0"),
        ("fraction", 0.0, "a number above 0"),
        ("steps", 0, "a whole number from 1"),
        ("warmup", 1.0, "a number of 0 or more and below 1"),
        ("lr", -0.1, "a number from 1e-30"),
        ("seed", -1, "a whole number of 0 or more"),
        ("image_size", 0, "a whole number from 1 to 8192"),
    ],
)
def test_a_cell_out_of_its_range_is_refused_though_its_key_fits(tmp_path, name, value, wanted):
    path = write_record(tmp_path, full_record(**{name: value}))
    with pytest.raises(InputError, match=rf"record.json .*cell.{name} {value!r} must be {wanted}"):
        read_record(path)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5000, "1e300"])
def test_a_number_is_finite(tmp_path, text):
    path = written(tmp_path, ("test", "kappa"), "HERE")
    path.write_text(path.read_text().replace('"HERE"', text))
    with pytest.raises(InputError, match=r"record\.json"):
        read_record(path)


@pytest.mark.parametrize("section", ["cost", "data", "cell"])
def test_fields_that_are_unknown_or_missing_are_named(tmp_path, section):
    with pytest.raises(InputError, match=f"{section} has 'later', which this version"):
        read_record(written(tmp_path, (section, "later"), 1))
    values = json.loads(json.dumps(VALUES))
    del values[section][{"cost": "train_s", "data": "metric", "cell": "lr"}[section]]
    (tmp_path / "record.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=f"{section} has no (train_s|metric|lr)"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("text", ["", "null", "[]", '"x"', "7", "[" * 5000, '{"schema": 1}', "{"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(InputError, match=r"record\.json"):
        read_record(tmp_path / "record.json")


def test_a_pipe_in_place_of_a_record_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "record.json")
    with pytest.raises(InputError, match="not a whole JSON file"):
        read_record(tmp_path / "record.json")


def test_a_bad_record_hides_no_good_one(tmp_path):
    write_record(tmp_path / "good", full_record())
    (tmp_path / "bad").mkdir()
    written(tmp_path / "bad", ("cost", "train_s"), "x")
    records, faults = read_records(tmp_path)
    assert [r.cell for r in records] == [full_record().cell]
    assert faults == [
        f"{tmp_path}/bad/record.json is not a record of this schema: cost.train_s is 'x', "
        "not a number; move it away"
    ]


def test_all_records_of_the_repository_are_read():
    paths = list(find_records(RESULTS))
    assert len(paths) > 100
    for path in paths:
        values = json.loads(path.read_text())
        record = read_record(path)
        again = json.loads(json.dumps(record.to_json()))
        for section in ("cell", "cost", "data"):  # what they lack has the value of its absence
            assert values[section].items() <= again[section].items()
        assert {n: again[n] for n in ("key", "val", "test", "history", "provenance")} == {
            n: values[n] for n in ("key", "val", "test", "history", "provenance")
        }


def test_an_integer_where_a_fraction_is_meant_keeps_its_key():
    values = make_cell(lr=1).values()
    assert Cell.from_dict(values).key == make_cell(lr=1).key != make_cell(lr=1.0).key


def test_earlier_trials_are_told_whole(tmp_path):
    path = write_record(tmp_path, full_record())
    values = json.loads(path.read_text())
    values["provenance"]["earlier"] = {"trials": 3}
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"provenance\.earlier has no fractions, rates, runs"):
        read_record(path)
