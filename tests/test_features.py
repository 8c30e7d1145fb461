"""Cached features give the numbers of the uncached path, and a bad cache is never believed."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_backbones
import torch
from safetensors.torch import load_file

import methods
from benchmark import backbones
from benchmark.bench import inputs
from benchmark.core.cell import Cell
from benchmark.core.registry import InputError
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training import augment
from benchmark.training.head import Classifier, Segmenter
from benchmark.training.kept import features, prefix
from benchmark.training.kept.prefix import Prefix
from benchmark.training.kept.together import alike
from benchmark.training.run import run
from benchmark.training.session import Session

CPU = torch.device("cpu")
SIDE = 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return inputs.write_jpegs(tmp_path_factory.mktemp("data") / "images", 24, 40)


def plan(dataset, **axes):
    short = {"steps": (3,), "batch_size": (8,), "evaluations": (2,), "image_size": (SIDE,)}
    grid = Grid(("linear",), ("tiny_vit",), (str(dataset),), (0.5,), augment=("none",))
    resolver = Resolver()
    return resolver.cells([replace(grid, **{**short, **axes})]), resolver.sources


def session_in(folder, sources):
    return Session(cache=folder / "cache", sources=sources, device=CPU)


def delta_of(folder):
    return load_file(folder / "delta.safetensors")


@pytest.fixture
def passes(monkeypatch):
    """The number of images that went through a body in evaluation mode below `features`."""
    seen, real = [], features._encode

    def count(work, rows, view):
        seen.append(len(rows))
        return real(work, rows, view)

    monkeypatch.setattr(features, "_encode", count)
    return seen


SAME = [
    ("", {}),
    ("phantom_lesions", {}),
    ("", {"augment": ("default",), "views": (2,)}),
    ("", {"methods": ("partial",)}),
    ("", {"methods": ("partial",), "augment": ("default",), "views": (2,)}),
    ("", {"methods": ("mlp_probe",)}),
    ("", {"methods": ("lst",)}),
]


@pytest.mark.parametrize(("dataset", "axes"), SAME, ids=str)
def test_numbers_are_those_without_the_cache(dataset, axes, images, tmp_path, monkeypatch):
    (cell,), sources = plan(dataset or images, **axes)
    cached = run(cell, session_in(tmp_path, sources), tmp_path / "cached")
    monkeypatch.setattr(
        "benchmark.training.run.from_kept", lambda s, splits, *_: (s, splits, False)
    )
    plain = run(cell, session_in(tmp_path, sources), tmp_path / "plain")
    assert cached.provenance["cached_features"]
    assert not plain.provenance["cached_features"]
    for part in ("val", "test"):
        assert getattr(cached, part) == pytest.approx(getattr(plain, part), rel=1e-4, nan_ok=True)
    for point, other in zip(cached.history, plain.history, strict=True):
        assert point == pytest.approx(other, rel=1e-4)
    mine, other = (delta_of(cell.folder(tmp_path / name)) for name in ("cached", "plain"))
    assert mine.keys() == other.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-4)
    assert cached.cost.trainable_params == plain.cost.trainable_params
    assert cached.cost.train_gflop_per_image == plain.cost.train_gflop_per_image
    for name in ("delta.safetensors", "predictions.npz"):
        assert (cell.folder(tmp_path / "cached") / name).exists()
    arrays = [np.load(cell.folder(tmp_path / n) / "predictions.npz") for n in ("cached", "plain")]
    assert arrays[0].files == arrays[1].files
    assert (arrays[0]["test_ids"] == arrays[1]["test_ids"]).all()


BF16 = [(spec, views) for views in (0, 1) for spec in ("partial", "mlp_probe", "lst", "linear")]


@pytest.mark.parametrize(("spec", "views"), [*BF16, ("knn", 0)])
def test_features_are_kept_in_bfloat16(spec, views, images, tmp_path):
    axes = {"augment": ("default",), "views": (views,)} if views else {}
    cells, sources = plan(images, methods=(spec,), precision=("bf16", "fp32"), **axes)
    session = session_in(tmp_path, sources)
    found, exact = (run(cell, session, tmp_path / "runs") for cell in cells)
    assert [cell.precision for cell in cells] == ["bf16", "fp32"]
    assert found.provenance["cached_features"]
    assert exact.provenance["cached_features"]
    for part in ("val", "test"):
        loss = getattr(exact, part)["loss"]
        assert getattr(found, part)["loss"] == pytest.approx(loss, rel=0.05)
    deltas = [delta_of(cell.folder(tmp_path / "runs")) for cell in cells]
    assert all(tensor.dtype != torch.bfloat16 for tensor in deltas[0].values())
    assert deltas[0].keys() == deltas[1].keys()


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
    [{"augment": ("default",)}, {"methods": ("lora",)}, {"methods": ("bitfit",)}],
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
        {"views": 2, "augment": "flip"},
    ],
    ids=str,
)
def test_other_content_is_another_cache(images, change, tmp_path):
    (cell,), sources = plan(images)
    session = session_in(tmp_path, sources)
    model = Classifier(torch.nn.Linear(2, 2), 2, 2)
    head = features.Head(model)
    key = features._key(cell, session, head)
    assert features._key(replace(cell, **change), session, head) != key
    assert features._key(cell, session, Prefix(model, [1])) != key
    alike = replace(cell, seed=3, lr=0.5, fraction=0.7, steps=9, split_seed=2)
    assert features._key(alike, session, head) == key


def test_views_cost_a_pass_each_and_are_shared(images, tmp_path, passes):
    axes = {"augment": ("default",), "views": (2,), "seeds": (0, 1), "lr": (1e-2, 1e-3)}
    cells, sources = plan(images, **axes)
    session = session_in(tmp_path, sources)
    for cell in cells:
        assert run(cell, session, tmp_path / "runs").provenance["cached_features"]
    assert sum(passes) == 3 * len(session.dataset(cells[0].dataset)) + 1


def test_views_of_a_segmentation_move_the_masks_and_are_not_cached(tmp_path, passes):
    (cell,), sources = plan("phantom_lesions", augment=("rotate",), views=(2,))
    record = run(cell, session_in(tmp_path, sources), tmp_path / "runs")
    assert not record.provenance["cached_features"]
    assert not passes


def test_views_are_a_function_of_image_and_number():
    one, more = augment.view_draws([3, 5], [0, 1]), augment.view_draws([5, 3, 3], [1, 0, 1])
    assert torch.equal(one[:, 0], more[:, 1])
    assert torch.equal(one[:, 1], more[:, 0])
    assert not torch.equal(more[:, 1], more[:, 2])


def test_views_are_part_of_the_key_where_something_changes(images):
    (fresh,), _ = plan(images, augment=("flip",))
    (fixed,), _ = plan(images, augment=("flip",), views=(4,))
    assert fresh.key != fixed.key == replace(fresh, views=4).key
    assert plan(images, views=(4,))[0] == plan(images)[0]  # nothing is changed: all views are alike
    with pytest.raises(InputError, match="views -1 must be a whole number from 0 to 65536"):
        plan(images, views=(-1,))


@pytest.mark.parametrize("family", ["vit", "swin", "swinv2", "eva02", "convnext", "pvt", "resnet"])
@pytest.mark.parametrize("spec", ["partial", "mlp_probe", "lst"])
@pytest.mark.parametrize("head", ["class", "mask"])
def test_a_prefix_leaves_logits_and_gradients_as_they_are(head, spec, family):
    torch.manual_seed(0)
    method, backbone = methods.build(spec), tiny_backbones.make(family)
    if method.unsupported(backbone):
        pytest.skip("the backbone does not suit the method")
    body = method.attach(backbone)
    levels, channels, _ = zip(*backbones.pyramid(body), strict=True)
    model = (
        Classifier(body, backbone.num_features, 3)
        if head == "class"
        else Segmenter(body, levels, channels, 3)
    ).eval()
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter)  # nothing that is read may be hidden by a zero
    cell, x = replace(_CELL, method=spec, image_size=64), torch.randn(2, 3, 64, 64)
    trained = [p for p in model.parameters() if p.requires_grad]
    wanted = model(x)
    gradients = torch.autograd.grad(wanted.square().sum(), trained, allow_unused=True)
    start = prefix.find(model, cell)
    if start is None:
        assert (spec, family) == ("lst", "resnet")  # it reads a map from before the blocks
        return
    with torch.no_grad():
        kept = start.encode(x)
    resumed = start.resume([list(t.shape[1:]) for t in kept], 64)
    found = resumed(torch.cat([t.flatten(1) for t in kept], 1))
    torch.testing.assert_close(found, wanted)
    again = torch.autograd.grad(found.square().sum(), trained, allow_unused=True)
    for a, b in zip(again, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


_CELL = Cell(
    dataset="d", data="f", backbone="b", weights="w", normalize="0,0,0/1,1,1", method="linear"
)


def test_a_method_that_does_not_say_what_it_reads_has_no_prefix():
    body = methods.build("partial").attach(tiny_backbones.make("vit"))
    model = Classifier(body, body.num_features, 3)
    assert prefix.find(model, replace(_CELL, method="lora", image_size=64)) is None
    assert prefix.find(model, replace(_CELL, method="partial", image_size=64)).read == [0]
    whole = methods.build("partial(blocks=2)").attach(tiny_backbones.make("vit"))
    model = Classifier(whole, whole.num_features, 3)
    assert prefix.find(model, replace(_CELL, method="partial", image_size=64)) is None


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


def test_what_another_process_wrote_meanwhile_stays(tmp_path):
    values = np.ones((5, 6), np.float32)
    features.write(tmp_path / "cache", features.Features(values, [[6]]))
    node = (tmp_path / "cache" / "values.npy").stat().st_ino
    features.write(tmp_path / "cache", features.Features(values, [[6]]))
    assert (tmp_path / "cache" / "values.npy").stat().st_ino == node  # somebody may have mapped it
    features.write(tmp_path / "cache", features.Features(values[:3], [[6]]))
    assert len(features.read(tmp_path / "cache", 3).values) == 3


def test_features_that_lie_on_the_device_are_those_of_the_disk(images, tmp_path, monkeypatch):
    (one, two), sources = plan(images, augment=("default",), views=(2,), seeds=(0, 1))
    wanted = run(one, session_in(tmp_path, sources), tmp_path / "disk")

    def put(session, key, values, rows):
        return session.kept(key, lambda: torch.from_numpy(values.copy()))

    monkeypatch.setattr(Session, "on_card", put)
    session = session_in(tmp_path, sources)
    found = run(one, session, tmp_path / "device")
    assert (found.val, found.test, found.history) == (wanted.val, wanted.test, wanted.history)
    run(two, session, tmp_path / "device")
    assert sum(key[0] == "values" for key in session._kept) == 1


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
    assert not list((tmp_path / "cache").glob(".*.part"))


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


TOGETHER = [
    {"lr": (1e-2, 1e-3), "seeds": (0, 1), "fractions": (0.5, 1.0), "weight_decay": (0.1,)},
    {"seeds": (0, 1), "augment": ("default",), "views": (2,), "balance": ("sampler",)},
    {"lr": (1e-4, 1e-2), "head_lr": (1e-3,), "clip": (0.1,)},
    {"lr": (1.0, 1e-2), "seeds": (0, 1), "patience": (2,), "evaluations": (12,)},
]


@pytest.mark.parametrize("axes", TOGETHER, ids=str)
@pytest.mark.parametrize("output", ["softmax", "ordinal"])
def test_probes_trained_at_once_are_those_trained_alone(axes, output, images, tmp_path):
    dataset = "phantom_grading" if output == "ordinal" else images
    cells, sources = plan(dataset, output=(output,), steps=(12,), **axes)
    session = session_in(tmp_path, sources)
    session.planned = cells
    lengths = set()
    for cell in cells:
        joint = run(cell, session, tmp_path / "joint")
        alone = run(cell, session_in(tmp_path, sources), tmp_path / "alone")
        assert joint.provenance["trained_together"] == len(cells)
        assert "trained_together" not in alone.provenance
        assert joint.selected_step == alone.selected_step
        assert joint.cost.steps_done == alone.cost.steps_done == joint.history[-1]["step"]
        assert [p["step"] for p in joint.history] == [p["step"] for p in alone.history]
        lengths.add(joint.cost.steps_done)
        for part in ("val", "test"):
            wanted = pytest.approx(getattr(alone, part), rel=1e-3, abs=1e-5, nan_ok=True)
            assert getattr(joint, part) == wanted
        mine, other = (delta_of(cell.folder(tmp_path / name)) for name in ("joint", "alone"))
        for name, tensor in mine.items():
            torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5)
    assert not session.ahead
    # until converged, some end while others go on
    assert (len(lengths) > 1) == (axes.get("patience") is not None)


def test_only_cells_that_differ_in_what_a_head_sees_are_trained_at_once(images, tmp_path):
    cells, sources = plan(
        images, methods=("linear", "mlp_probe", "knn"), seeds=(0, 1), batch_size=(4, 8)
    )
    session = session_in(tmp_path, sources)
    session.planned = cells
    found = {cell: run(cell, session, tmp_path / "runs").provenance for cell in cells}
    for cell, provenance in found.items():
        joint = provenance.get("trained_together", 1)
        assert joint == (2 if cell.method.startswith("linear") else 1)
        assert provenance["cached_features"]
    assert len(alike(cells[0], [cells[0], replace(cells[0], steps=9)], 4)) == 1
    assert len(alike(cells[0], [replace(cells[0], seed=9)], 4)) == 2


def test_features_made_for_a_small_fraction_serve_a_larger_one(images, tmp_path):
    # only the images of a cell's own splits are decoded; features are for every cell
    (small, large), sources = plan(images, fractions=(0.3, 1.0))
    run(small, session_in(tmp_path / "shared", sources), tmp_path / "shared")
    found = run(large, session_in(tmp_path / "shared", sources), tmp_path / "shared")
    wanted = run(large, session_in(tmp_path / "fresh", sources), tmp_path / "fresh")
    assert (found.val, found.test, found.history) == (wanted.val, wanted.test, wanted.history)
    (folder,) = (tmp_path / "shared" / "cache").glob("features-*")
    assert (np.load(folder / "values.npy").std(0) > 0).all()
    assert len(np.unique(np.load(folder / "values.npy"), axis=0)) == len(
        session_in(tmp_path / "shared", sources).dataset(large.dataset)
    )
