"""Whatever is in a file or a flag, the answer is a value or one sentence, never another error.

The examples are drawn the same way in every run.
"""

import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_guards import put

from benchmark.core.files import open_arrays, read_toml
from benchmark.core.numbers import COUNT, POSITIVE
from benchmark.core.record import read_record
from benchmark.core.registry import InputError
from benchmark.core.spec import format_spec, parse_spec, split_list
from benchmark.data import open_dataset
from benchmark.data.readers import declared
from benchmark.data.readers.images import read_rgb
from benchmark.scores.metric import Predictions, check_split
from benchmark.sweep import claims, ends, plan
from benchmark.sweep.grid import AXES, read_axis, read_config
from results import paper_table

settings.register_profile(
    "same",
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("same")

WORDS = st.text("abcXYZ_09 =,.:()[]{}'\"+-*@/\\\n#%²٣\x00é", max_size=30)
PLAIN = st.none() | st.booleans() | st.integers(-10, 10**20) | st.floats() | WORDS
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)


def value_or_sentence(function, *arguments):
    """Return what a function returns, or None where it says in one sentence what is wrong."""
    try:
        return function(*arguments)
    except InputError:
        return None


@given(WORDS)
@pytest.mark.parametrize("kind", [COUNT, POSITIVE])
def test_numbers(kind, text):
    found = value_or_sentence(kind.read, text, "x")
    assert found is None or kind.read(repr(found), "x") == found


@given(st.one_of(WORDS, WORDS.map(lambda text: f"lora(rank={text})")))
def test_specs(text):
    found = value_or_sentence(parse_spec, text)
    if found is not None:
        assert parse_spec(format_spec(*found)) == found
    value_or_sentence(split_list, text)


NAMES = st.from_regex("[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: name not in ("nan", "inf", "in", "is", "as", "if", "or", "def", "for", "not",
                              "and", "try", "del", "async", "await", "class", "with", "from",
                              "pass", "elif", "else", "lambda", "return", "yield", "raise")
)  # fmt: skip
LITERALS = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8).filter(lambda t: t.isprintable())
    | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e99, 1e99),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)  # fmt: skip


@given(NAMES, st.dictionaries(NAMES, LITERALS, max_size=3))
def test_what_is_formatted_is_read_back(name, arguments):
    assert parse_spec(format_spec(name, arguments)) == (name, arguments)


@given(st.sampled_from(sorted(AXES)), VALUES)
def test_axes(name, value):
    found = value_or_sentence(read_axis, name, value)
    assert found is None or read_axis(name, list(found)) == found


TOML = st.one_of(
    WORDS,
    st.binary(max_size=40),
    st.tuples(
        st.sampled_from([*AXES, "suite", "classes", "label", "groups", "ordinal", "window",
                         "columns", "digits", "spread", "layout", "values", "multilabel"]),
        VALUES,
    ).map(lambda pair: f"{pair[0]} = {json.dumps(pair[1])}"),
)  # fmt: skip


@given(TOML)
def test_toml(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (read_toml, declared.read, paper_table.read):
        value_or_sentence(read, path)
    for name, value in (value_or_sentence(read_config, path) or {}).items():
        if name in AXES:
            value_or_sentence(read_axis, name, value)


CELLS = st.sampled_from(
    ["0.png", "1.png", "2.png", "gone.png", "../x", "a", "b", "²", "01", "1", "train", "test", "",
     " ", "=1+1", "a\x00b", "-1", "nan", '"', "é"]
)  # fmt: skip
HEADS = st.lists(st.sampled_from(["image", "label", "group", "split", "mask", "x", ""]), max_size=5)


@given(HEADS, st.lists(st.lists(CELLS, max_size=5), max_size=8), st.binary(max_size=4))
def test_manifests(tmp_path, head, rows, tail):
    for number in range(3):
        if not (tmp_path / f"{number}.png").exists():
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    lines = [",".join(row) for row in [head, *rows]]
    (tmp_path / "m.csv").write_bytes("\n".join(lines).encode() + tail)
    value_or_sentence(open_dataset, str(tmp_path / "m.csv"))


def mutated(values, path, new):
    """Return `values` with what stands at `path`, one choice per level, replaced by `new`."""
    if not path or not isinstance(values, dict | list) or not values:
        return new
    keys = sorted(values) if isinstance(values, dict) else range(len(values))
    key = keys[path[0] % len(keys)]
    changed = dict(values) if isinstance(values, dict) else list(values)
    changed[key] = mutated(values[key], path[1:], new)
    return changed


@given(st.lists(st.integers(0, 40), min_size=1, max_size=3), VALUES)
def test_records(tmp_path, path, new):
    file = next(tmp_path.rglob("record.json"), None) or put(tmp_path, 0.5)
    kept = tmp_path / "kept.txt"
    if not kept.exists():
        kept.write_text(file.read_text())
    file.write_text(json.dumps(mutated(json.loads(kept.read_text()), path, new)))
    record = value_or_sentence(read_record, file)
    if record is not None:
        file.write_text(json.dumps(record.to_json()))
        assert read_record(file) == record


@given(st.one_of(st.binary(max_size=30), VALUES.map(lambda v: json.dumps(v).encode())))
def test_small_files_of_a_runs_folder(tmp_path, content):
    (tmp_path / "plans").mkdir(exist_ok=True)
    for name in ("claim.json", "deaths.json", "plans/x.json"):
        (tmp_path / name).write_bytes(content)
    claims.read(tmp_path)
    ends.read_ends(tmp_path)
    plan.planned(tmp_path)


@given(VALUES)
def test_fields_of_small_files(tmp_path, value):
    owner = dict.fromkeys(claims.WRITTEN, value)
    (tmp_path / "claim.json").write_text(json.dumps(owner))
    (tmp_path / "deaths.json").write_text(json.dumps({"ends": [{"kind": value, "step": value}]}))
    (tmp_path / "plans").mkdir(exist_ok=True)
    (tmp_path / "plans/x.json").write_text(json.dumps({"slugs": [value, "a/b"]}))
    found = claims.read(tmp_path)
    assert found is None or isinstance(found.describe(), str)
    found.is_alive()
    ends.read_ends(tmp_path)
    for folder in plan.planned(tmp_path)[0]:
        value_or_sentence(plan.state, folder)


def damaged(whole, cuts):
    """Return bytes with some of them flipped, and cut off where the last place is even."""
    content = bytearray(whole)
    for place in cuts:
        content[place % len(content)] ^= 0xFF
    return bytes(content[: cuts[-1] % len(content)] if cuts and cuts[-1] % 2 == 0 else content)


PLACES = st.lists(st.integers(0, 10_000), max_size=4)
ARRAYS = {
    "probs": np.full((6, 2), 0.5, np.float32),
    "labels": np.array([0, 1] * 3),
    "groups": np.array(list("aabbcc")),
}


@given(PLACES)
def test_predictions(tmp_path, cuts):
    stream = io.BytesIO()
    np.savez_compressed(stream, **{f"test_{n}": a for n, a in ARRAYS.items()})
    path = tmp_path / "predictions.npz"
    path.write_bytes(damaged(stream.getvalue(), cuts))

    def read():
        with open_arrays(path, "again") as stored:
            return Predictions.of_split(stored, ("a", "b"), "test")

    value_or_sentence(read)


@given(
    st.sampled_from([np.int64, np.float32, bool, "U3"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(["probs", "labels", "groups"]),
)
def test_arrays_that_do_not_belong_together(dtype, shape, name):
    arrays = ARRAYS | {name: np.zeros(shape).astype(dtype)}
    try:
        check_split("test", arrays, 2)
    except ValueError:
        return
    assert len(arrays["probs"]) == len(arrays["labels"])


@given(PLACES)
def test_archives(tmp_path, cuts):
    stream = io.BytesIO()
    parts = {}
    for part in ("train", "val", "test"):
        parts[f"{part}_images"] = np.arange(8 * 16).reshape(8, 4, 4).astype(np.uint8)
        parts[f"{part}_labels"] = np.arange(8)[:, None] % 2
    np.savez_compressed(stream, **parts)
    path = tmp_path / "x.npz"
    path.write_bytes(damaged(stream.getvalue(), cuts))
    value_or_sentence(open_dataset, str(path))


@given(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP"]), PLACES)
def test_images(tmp_path, form, cuts):
    stream = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, form)
    path = tmp_path / f"x.{form.lower()}"
    path.write_bytes(damaged(stream.getvalue(), cuts))
    found = value_or_sentence(read_rgb, path)
    assert found is None or found.dtype == np.uint8
