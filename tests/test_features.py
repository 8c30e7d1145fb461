"""Cached features give the numbers of the uncached path, and a bad cache is never believed."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark import features
from benchmark.bench import inputs
from benchmark.cells import Resolver
from benchmark.grid import Grid
from benchmark.heads import Classifier
from benchmark.run import run
from benchmark.session import Session

CPU = torch.device("cpu")
SIDE = 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return inputs.write_jpegs(tmp_path_factory.mktemp("data") / "images", 24, 40)


def plan(dataset, methods=("linear",), **axes):
    short = {"steps": (3,), "batch_size": (8,), "evaluations": (2,), "image_size": (SIDE,)}
    grid = Grid(methods, ("tiny_vit",), (str(dataset),), (0.5,), augment=("none",))
    resolver = Resolver()
    return resolver.cells([replace(grid, **{**short, **axes})]), resolver.sources


def session_in(folder, sources):
    return Session(cache=folder / "cache", sources=sources, device=CPU)


@pytest.fixture
def passes(monkeypatch):
    """The number of images that went through a body in evaluation mode below `features`."""
    seen, real = [], features._encode

    def count(setup, data, rows):
        seen.append(len(rows))
        return real(setup, data, rows)

    monkeypatch.setattr(features, "_encode", count)
    return seen


@pytest.mark.parametrize("dataset", ["", "phantom_lesions"])
def test_numbers_are_those_without_the_cache(dataset, images, tmp_path, monkeypatch):
    (cell,), sources = plan(dataset or images)
    cached = run(cell, session_in(tmp_path, sources), tmp_path / "cached")
    monkeypatch.setattr("benchmark.run.use_cached", lambda setup, data, *_: (setup, data))
    plain = run(cell, session_in(tmp_path, sources), tmp_path / "plain")
    assert cached.provenance["cached_features"]
    assert not plain.provenance["cached_features"]
    for part in ("val", "test"):
        assert getattr(cached, part) == pytest.approx(getattr(plain, part), rel=1e-4, nan_ok=True)
    for point, other in zip(cached.history, plain.history, strict=True):
        assert point == pytest.approx(other, rel=1e-4)
    assert cached.cost["trainable_params"] == plain.cost["trainable_params"]
    assert cached.cost["train_gflop_per_image"] == plain.cost["train_gflop_per_image"]
    for name in ("delta.safetensors", "predictions.npz"):
        assert (cell.folder(tmp_path / "cached") / name).exists()
    arrays = [np.load(cell.folder(tmp_path / n) / "predictions.npz") for n in ("cached", "plain")]
    assert arrays[0].files == arrays[1].files
    assert (arrays[0]["test_ids"] == arrays[1]["test_ids"]).all()


def test_a_grid_of_probes_costs_one_pass_over_the_data(images, tmp_path, passes):
    axes = {"fractions": (0.5, 1.0), "seeds": (0, 1), "lr": (1e-2, 1e-3), "split_seeds": (0, 1)}
    cells, sources = plan(images, **axes)
    session = session_in(tmp_path, sources)
    for cell in cells:
        run(cell, session, tmp_path / "runs")
    size = len(session.dataset(cells[0].dataset))
    assert len(cells) == 16
    assert sum(passes) == size + 1  # one image tells the shapes
    again = session_in(tmp_path, sources)  # another process finds them on the disk
    run(cells[0], again, tmp_path / "other")
    assert sum(passes) == size + 1


@pytest.mark.parametrize(
    "axes",
    [
        {"augment": ("default",)},
        {"methods": ("lora",)},
        {"methods": ("bitfit",)},
        {"methods": ("mlp_probe",)},
    ],
    ids=str,
)
def test_what_is_not_constant_is_not_cached(images, axes, tmp_path, passes):
    (cell,), sources = plan(images, **axes)
    record = run(cell, session_in(tmp_path, sources), tmp_path / "runs")
    assert not record.provenance["cached_features"]
    assert not passes


def test_a_body_with_dropout_is_not_constant(images):
    (cell,), _ = plan(images)
    body = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1)).requires_grad_(False)
    assert not features.is_constant(body, cell)
    body[1].p = 0.0
    assert features.is_constant(body, cell)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "other"},
        {"data": "other"},
        {"image_size": 64},
        {"normalize": "1,1,1/2,2,2"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_other_content_is_another_cache(images, change, tmp_path):
    (cell,), sources = plan(images)
    session = session_in(tmp_path, sources)
    assert features._key(replace(cell, **change), session) != features._key(cell, session)
    alike = replace(cell, seed=3, lr=0.5, fraction=0.7, steps=9, split_seed=2)
    assert features._key(alike, session) == features._key(cell, session)


def _flip(file):
    bytes_ = bytearray(file.read_bytes())
    bytes_[-3] ^= 1
    file.write_bytes(bytes_)


DAMAGES = {
    "one bit": lambda folder: _flip(folder / "values.npy"),
    "half-written": lambda folder: (folder / "values.npy").write_bytes(
        (folder / "values.npy").read_bytes()[:1000]
    ),
    "no meta": lambda folder: (folder / "meta.json").unlink(),
    "empty meta": lambda folder: (folder / "meta.json").write_text("{}"),
    "meta of no object": lambda folder: (folder / "meta.json").write_text("[]"),
    "no values": lambda folder: (folder / "values.npy").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(images, damage, tmp_path, passes):
    (cell,), sources = plan(images)
    first = run(cell, session_in(tmp_path, sources), tmp_path / "first")
    (folder,) = (tmp_path / "cache").glob("features-*")
    good = (folder / "values.npy").read_bytes()
    DAMAGES[damage](folder)
    count = sum(passes)
    second = run(cell, session_in(tmp_path, sources), tmp_path / "second")
    assert sum(passes) == 2 * count
    assert (first.val, first.test, first.history) == (second.val, second.test, second.history)
    assert (folder / "values.npy").read_bytes() == good


def test_features_of_fewer_images_do_not_fit(tmp_path):
    values = np.ones((5, 6), np.float32)
    features.write(tmp_path / "cache", features.Features(values, [[2], [2, 2]]))
    found = features.read(tmp_path / "cache", 5)
    assert found.shapes == [[2], [2, 2]]
    assert (found.values == values).all()
    assert features.read(tmp_path / "cache", 6) is None
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    (tmp_path / "cache" / "meta.json").write_text(json.dumps({**meta, "shapes": [[7]]}))
    assert features.read(tmp_path / "cache", 5) is None


def test_a_full_disk_costs_the_cache_and_not_the_cell(images, tmp_path, monkeypatch, capsys):
    (cell,), sources = plan(images)
    wanted = run(cell, session_in(tmp_path, sources), tmp_path / "wanted")
    for folder in (tmp_path / "cache").glob("features-*"):
        (folder / "meta.json").unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(features.np, "save", full)
    record = run(cell, session_in(tmp_path, sources), tmp_path / "runs")
    assert record.test == wanted.test
    error = capsys.readouterr().err
    assert error == "features are not kept on the disk: No space left on device\n"
    assert not list((tmp_path / "cache").glob(".part-*"))


def test_what_is_too_large_is_not_cached(images, tmp_path, monkeypatch):
    (cell,), sources = plan(images)
    monkeypatch.setattr(features, "LIMIT_BYTES", 1000)
    record = run(cell, session_in(tmp_path, sources), tmp_path / "runs")
    assert not record.provenance["cached_features"]
    assert not list((tmp_path / "cache").glob("features-*"))


def test_a_decision_is_the_model_without_its_body():
    body = torch.nn.Linear(4, 6)
    model = Classifier(body, 6, 3)
    decision = features.Decision(model, [[6]], SIDE)
    x = torch.randn(5, 4)
    assert torch.equal(decision(body(x)), model(x))
    assert [p.data_ptr() for p in decision.parameters()] == [
        p.data_ptr() for p in model.head.parameters()
    ]
