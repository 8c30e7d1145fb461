"""Controls: nearest neighbours, and networks from scratch, as ordinary cells."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from benchmark import backbones
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.sweep.suites import suites
from benchmark.trained import load
from benchmark.training.neighbours import Memory
from benchmark.training.run import run
from benchmark.training.session import Session

SMALL = {"fractions": (0.2,), "steps": (2,), "evaluations": (1,), "batch_size": (4,)}


def test_votes_agree_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    features = nn.functional.normalize(torch.randn(50, 8, generator=generator), dim=1)
    labels = torch.arange(50) % 3
    queries = torch.randn(20, 8, generator=generator)
    memory = Memory(8, 3, 7)
    memory.features, memory.labels = features, labels
    rival = KNeighborsClassifier(
        7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(features.numpy(), labels.numpy())
    found = memory(queries).exp()
    assert np.allclose(found.numpy(), rival.predict_proba(queries.numpy()), atol=1e-4)
    memory.k = 500  # more neighbours than there are: all of them vote
    assert memory(queries).exp().sum(1) == pytest.approx(torch.ones(20), abs=1e-5)


def test_knn_is_a_cell_like_others_and_reloads(tmp_path):
    grid = Grid(("knn", "knn(k=1)"), ("tiny_vit",), ("phantom_grading",), **SMALL)
    cells = Resolver().cells([grid])
    session = Session(tmp_path / "cache", {})
    first, second = (run(cell, session, tmp_path / "runs") for cell in cells)
    assert first.cost.trainable_params == first.cost.head_params == 0
    assert first.cost.delta_bytes > 4 * 128 * 32  # 128 images with 32 features
    assert first.test != second.test
    assert first.selected_step == 2
    trained = load(cells[0].folder(tmp_path / "runs"))
    data = session.data(cells[0])
    images = torch.from_numpy(data.test.images[data.test.rows[:8]]).permute(0, 3, 1, 2)
    with np.load(cells[0].folder(tmp_path / "runs") / "predictions.npz") as stored:
        expected = stored["test_probs"][:8]
    with torch.no_grad():
        found = trained.model(trained.normalize(images.float() / 255)).softmax(1)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_knn_segments_nothing_and_says_so(tmp_path):
    (cell,) = Resolver().cells([Grid(("knn",), ("tiny_vit",), ("phantom_lesions",), **SMALL)])
    assert run(cell, Session(tmp_path / "cache", {}), tmp_path / "runs") is None
    told = (cell.folder(tmp_path / "runs") / "unsupported.txt").read_text()
    assert told == "knn votes on one class per image\n"


@pytest.mark.parametrize("name", ["unet", "small_cnn"])
def test_networks_from_scratch_train_on_both_tasks(name, tmp_path):
    grids = [
        Grid(("full",), (name,), (data,), image_size=(32,), lr=(1e-3,), **SMALL)
        for data in ("phantom_grading", "phantom_lesions")
    ]
    session = Session(tmp_path / "cache", {})
    for cell in Resolver().cells(grids):
        record = run(cell, session, tmp_path / "runs")
        assert record.cost.trainable_params > 1e6
        assert np.isfinite(record.val["loss"])


def test_the_u_net_predicts_at_full_resolution():
    body = backbones.create("unet", 32)
    (level,) = backbones.pyramid(body)
    assert level == (0, 32, 1)
    images = torch.rand(2, 3, 32, 32)
    (found,) = body.forward_intermediates(images)
    assert found.shape == (2, 32, 32, 32)
    assert torch.equal(found, body.net(images))
    assert body(images).shape == (2, body.num_features)
    bottom = body.net.conv_0(images)
    for level in (body.net.down_1, body.net.down_2, body.net.down_3, body.net.down_4):
        bottom = level(bottom)
    assert torch.allclose(body(images), bottom.mean((2, 3)), atol=1e-6)


def test_the_suite_resolves_and_holds_every_kind_of_control():
    cells = Resolver().cells(suites["controls"]())
    names = {(c.backbone, c.method.partition("(")[0]) for c in cells}
    assert {("vit_s14_imgfocus", "knn"), ("unet", "full"), ("small_cnn", "full")} <= names
    assert ("random:vit_s14_imgfocus", "full") in names


def test_an_odd_k_is_refused():
    with pytest.raises(InputError, match="knn: k 0 must be a whole number"):
        Resolver().cells([Grid(("knn(k=0)",), ("tiny_vit",))])


def test_a_size_that_is_too_small_is_one_sentence():
    with pytest.raises(InputError, match=r"24 does not suit unet: .* for example 32 or 40"):
        backbones.check_size("unet", 24)


def test_other_heads_than_a_linear_classifier_are_not_exported(tmp_path):
    from benchmark.trained.export import to_timm

    (cell,) = Resolver().cells([Grid(("knn",), ("tiny_vit",), ("phantom_grading",), **SMALL)])
    settings = Settings(processes_per_gpu=2)
    record = run(cell, Session(tmp_path / "cache", {}, settings=settings), tmp_path / "runs")
    assert record.provenance["processes_per_gpu"] == 2  # its times are not those of a cell alone
    with pytest.raises(InputError, match="no linear classifier"):
        to_timm(load(cell.folder(tmp_path / "runs")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
