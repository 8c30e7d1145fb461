import dataclasses

import pytest

from benchmark.core.cell import Cell, seed
from benchmark.core.registry import InputError, Registry
from benchmark.core.spec import format_spec, parse_spec, split_list
from benchmark.sweep.grid import expand, read_axis
from benchmark.sweep.plan import plan


def make_cell(**changes):
    values = {
        "dataset": "phantom_grading",
        "data": "d0",
        "backbone": "tiny_vit",
        "weights": "w0",
        "normalize": "0.5,0.5,0.5/0.5,0.5,0.5",
        "method": "lora(rank=8)",
    }
    return Cell(**{**values, **changes})


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("lora", "lora", {}),
        ("full()", "full", {}),
        ("lora(rank=8, targets=q+v)", "lora", {"rank": 8, "targets": "q+v"}),
        (
            "a(x=-1.5,y=None,z=True,w='two words')",
            "a",
            {"x": -1.5, "y": None, "z": True, "w": "two words"},
        ),
        ("a(word='True')", "a", {"word": "True"}),
        ("my_module:MyMethod(rank=2)", "my_module:MyMethod", {"rank": 2}),
    ],
)
def test_spec_round_trip(text, name, arguments):
    assert parse_spec(text) == (name, arguments)
    assert parse_spec(format_spec(name, arguments)) == (name, arguments)


@pytest.mark.parametrize(
    "text", ["", "lora(", "lora(8)", "lora(rank=)", "lora(rank=f(1))", "a b", "lora(**x)"]
)
def test_bad_specs_are_one_sentence(text):
    with pytest.raises(InputError) as caught:
        parse_spec(text)
    assert repr(text.strip()) in str(caught.value) or repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_split_list_keeps_commas_in_brackets():
    assert split_list("dvpt, lora(rank=8,alpha=4),c(x=(1,2))") == [
        "dvpt",
        "lora(rank=8,alpha=4)",
        "c(x=(1,2))",
    ]
    for bad in ("a,,b", "a,", "lora(rank=8"):
        with pytest.raises(InputError, match="comma list"):
            split_list(bad)


def test_a_path_keeps_its_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lung, left" / "a,b").mkdir(parents=True)
    inside = f"{tmp_path}/lung, left/a,b"
    assert read_axis("datasets", f"busi,{inside} , drive") == ("busi", inside, "drive")
    assert read_axis("datasets", f"busi@{inside}") == (f"busi@{inside}",)
    assert read_axis("datasets", "lung, left,drive") == ("lung, left", "drive")
    assert read_axis("datasets", "busi,drive") == ("busi", "drive")
    (tmp_path / "busi,drive").mkdir()
    with pytest.raises(InputError, match=r"'busi,drive' is a path, and a list of 2 data sets"):
        read_axis("datasets", "busi,drive")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Cell)])
def test_every_field_of_a_cell_is_in_its_key(field):
    cell = make_cell()
    value = getattr(cell, field)
    changed = dataclasses.replace(
        cell, **{field: value + "x" if isinstance(value, str) else value + 1}
    )
    assert changed.key != cell.key


def test_key_is_stable():
    # A changed key would make every finished record of every user stale: change it knowingly.
    assert make_cell().key == "7f576f610031bfb7"


def test_slug_is_a_safe_relative_path():
    slug = make_cell(method="lora(rank=8,targets='a/../b')", backbone="timm:vit/x").slug
    assert slug.count("/") == 3
    assert all(part not in ("", ".", "..") for part in slug.split("/"))
    assert not set(slug) & set("()=,: '")


def test_seeds_depend_only_on_their_axes():
    base, other_method = make_cell(), make_cell(method="dvpt")
    assert seed(base, "order") == seed(other_method, "order")  # the same batches for all methods
    assert seed(base, "head") == seed(other_method, "head")
    assert seed(base, "init") != seed(other_method, "init")
    assert seed(base, "init") == seed(make_cell(lr=0.5), "init")  # trials start alike
    assert seed(base, "order") != seed(make_cell(seed=1), "order")
    assert seed(base, "order") != seed(make_cell(fraction=0.5), "order")


def test_expand_is_the_product():
    points = expand({"a": (1, 2), "b": ("x", "y")})
    assert points == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_plan_reads_states_from_the_disk(tmp_path):
    cells = [make_cell(seed=s) for s in range(4)]
    marks = [None, "record.json", "error.txt", "unsupported.txt"]
    for cell, mark in zip(cells, marks, strict=True):
        if mark:
            cell.folder(tmp_path).mkdir(parents=True)
            (cell.folder(tmp_path) / mark).write_text("{}")
    planned = plan([*cells, cells[0]], tmp_path)
    assert (planned.todo, planned.done) == ((cells[0],), (cells[1],))
    assert (planned.failed, planned.unsupported) == ((cells[2],), (cells[3],))
    (cells[2].folder(tmp_path) / "record.json").write_text("{}")
    assert cells[2] in plan(cells, tmp_path).done  # a record outweighs an older failure


def test_registry_refuses_duplicates_and_suggests():
    registry = Registry("method")
    registry.add("lora")(1)
    with pytest.raises(ValueError, match="registered twice"):
        registry.add("lora")(2)
    with pytest.raises(InputError, match="unknown method 'lorra'; did you mean 'lora'"):
        registry["lorra"]
