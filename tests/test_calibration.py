"""Methods that choose what to train by training images, and one that widens the features."""

import dataclasses
import math

import numpy as np
import pytest
import timm
import tiny_backbones
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import methods
from benchmark import auditing
from benchmark.core.registry import InputError
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.training import calibration, run
from benchmark.training.calibration import CalibrationBatches
from benchmark.training.fit import evaluate
from benchmark.training.session import Session
from benchmark.training.source import images_of
from methods import build, seams

torch.set_num_threads(1)


def vit(**kwargs):
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes, **kwargs).eval()


def batches(labels=((0, 1, 0, 2), (1, 1, 2, 0))):
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(len(y), 3, 32, 32, generator=generator).double(), torch.tensor(y))
        for y in labels
    ]


def no_loss(images, targets):
    raise AssertionError("the task's loss is not asked for")


def pairwise(features, classes):
    """The supervised contrastive loss, image by image as the formula reads."""
    z = features / features.norm(dim=1, keepdim=True)
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        total = sum(torch.exp(z[i] @ z[a] / 0.07) for a in others)
        positives = [p for p in others if classes[p] == classes[i]]
        if positives:
            shares = [torch.log(torch.exp(z[i] @ z[p] / 0.07) / total) for p in positives]
            terms.append(-sum(shares) / len(positives))
    return sum(terms) / len(terms)


def test_gps_trains_the_connections_with_the_largest_gradients():
    plain = vit().double()
    layers = {n: m for n, m in plain.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    assert len(layers) == 1 + 4 * 2
    for images, targets in batches():
        pairwise(plain(images), targets).backward()
    method = build("gps(connections=2)")
    body = method.attach(vit().double())
    method.calibrate(body, batches(), no_loss)
    for name, layer in layers.items():
        gradient = layer.weight.grad.abs().flatten(1).numpy()
        chosen = body.get_submodule(name).places.numpy()
        for row, places in zip(gradient, chosen, strict=True):
            assert sorted(places) == sorted(np.argsort(row)[-2:]), name
    # the function: W with two more values in each row, of which one is seen here
    layer = body.blocks[1].mlp.fc2
    with torch.no_grad():
        layer.values[3, 1] = 0.5
    x = torch.randn(5, 64).double()
    changed = layers["blocks.1.mlp.fc2"].weight.detach().clone()
    changed[3, layer.places[3, 1].item()] += 0.5
    assert torch.allclose(layer(x), F.linear(x, changed, layer.bias), atol=1e-12)
    trained = {n.rpartition(".")[2] for n in methods.trainable(body)}
    assert trained == {"values", "bias"}
    assert not any("norm" in name for name in methods.trainable(body))


def test_gps_takes_the_task_s_loss_where_it_has_no_pairs():
    method, weights = build("gps(loss=task)"), []

    def loss(images, targets):
        weights.append(float(targets.sum()))
        return body(images)[:, :3].square().sum()

    body = method.attach(vit().double())
    method.calibrate(body, batches([(0, 1)]), loss)
    assert weights == [1.0]
    body = build("gps").attach(vit().double())
    masks = [(x, torch.zeros(len(x), 32, 32, dtype=torch.long)) for x, _ in batches()]
    build("gps").calibrate(body, masks, loss)
    assert weights == [1.0, 0.0, 0.0]
    with pytest.raises(InputError, match=r"no two training images of one class .* gps\(loss=task"):
        build("gps").calibrate(body, batches([(0, 1), (1, 2)]), no_loss)


def test_sct_takes_the_channels_with_the_largest_mean_norm_over_classes():
    plain = vit().double()
    streams = [[], []]
    for number, block in enumerate(plain.blocks):
        block.norm2.register_forward_pre_hook(
            lambda module, inputs, number=number: streams[number].append(inputs[0].detach())
        )
    for images, _ in batches():
        plain(images)
    method = build("sct(share=0.25,scale=2.0)")
    body = method.attach(vit().double())
    method.calibrate(body, batches(), no_loss)
    classes = torch.cat([targets for _, targets in batches()])
    for stream, block in zip(streams, body.blocks, strict=True):
        patches = torch.cat(stream)[:, 1:]
        norms = [patches[classes == c].flatten(0, 1).norm(dim=0) for c in range(3)]
        mean = sum(norms) / 3
        module = block.drop_path1.changer
        assert module.channels.tolist() == sorted(mean.argsort()[-4:].tolist())
    block, module = body.blocks[0], body.blocks[0].drop_path1.changer
    x = torch.randn(2, 5, 16).double()
    u = x + block.attn(block.norm1(x))
    expected = u.clone()
    part = u[..., module.channels]
    expected[..., module.channels] = part + 2 * (part @ module.map.weight.T + module.map.bias)
    expected = expected + block.mlp(block.norm2(expected))
    assert torch.allclose(block(x), expected, atol=1e-12)


def test_vqt_is_the_released_code():
    backbone = vit().double()
    plain = vit().double()
    body = build("vqt(queries=2)").attach(backbone).eval()
    with torch.no_grad():
        body.queries.normal_()
    images = batches()[0][0]
    tokens, parts = plain._pos_embed(plain.patch_embed(images)), []
    for block, rows in zip(plain.blocks, body.queries, strict=True):
        # the authors put the queries in front and take keys and values of the other tokens
        both = torch.cat([rows.expand(4, -1, -1), tokens], 1)
        attn = block.attn
        q, k, v = attn.qkv(block.norm1(both)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        weights = (q @ k[:, :, 2:].transpose(-2, -1) / math.sqrt(8)).softmax(-1)
        both = both + attn.proj((weights @ v[:, :, 2:]).transpose(1, 2).flatten(2))
        both = both + block.mlp(block.norm2(both))
        parts.append(both[:, :2].flatten(1))
        tokens = both[:, 2:]
    parts.insert(0, plain.norm(tokens)[:, 0])
    expected = torch.cat([part / part.norm(dim=1, keepdim=True) for part in parts], 1)
    assert torch.allclose(body(images), expected, atol=1e-12)
    assert body.num_features == 16 * (1 + 2 * 2)
    assert set(methods.trainable(body)) == {"queries"}


def one_cell(**changes):
    axes = {
        "methods": ("gps",),
        "backbones": ("tiny_vit",),
        "datasets": ("phantom_grading",),
        "fractions": (0.1,),
        "steps": (4,),
        "evaluations": (2,),
        "batch_size": (8,),
        **changes,
    }
    resolver = Resolver()
    (cell,) = resolver.cells([Grid(**axes)])
    return cell, resolver.sources


class StopError(Exception):
    pass


@pytest.mark.parametrize("spec", ["gps", "sct", "vqt(queries=1)"])
def test_a_cell_its_record_and_what_becomes_of_it(tmp_path, spec):
    cell, sources = one_cell(methods=(spec,))
    session = Session(tmp_path / "cache", sources)
    record = run.run(cell, session, tmp_path / "whole")
    method, bare = build(spec), session.backbone(cell)
    assert record.cost.trainable_params == method.count(bare)
    if method.calibration_images:
        assert record.provenance["calibration"]["images"] == record.data.train
    width, classes = method.num_features(bare), len(record.data.classes)
    assert record.cost.head_params == (width + 1) * classes
    # killed after a checkpoint, and continued in a new process: bit for bit the same

    def stop(step):
        if step == 3:
            raise StopError("pulled the plug")

    with pytest.raises(StopError):
        run.run(cell, session, tmp_path / "broken", stop)
    steps = []
    again = run.run(cell, Session(tmp_path / "cache", sources), tmp_path / "broken", steps.append)
    assert steps[0] == 3
    assert (again.history, again.val, again.test) == (record.history, record.val, record.test)
    folders = [cell.folder(tmp_path / name) for name in ("whole", "broken")]
    deltas = [load_file(folder / "delta.safetensors") for folder in folders]
    assert all(torch.equal(deltas[0][name], deltas[1][name]) for name in deltas[0])
    # without any image of the training set: what `predict` and `export` begin with
    data = session.data(cell)
    model, task = run.assemble(cell, session.backbone(cell), data.dataset.card)
    run.load_state(model, deltas[0])
    setup = run.setup_of(cell, session, model, task, tmp_path / "c.pt")
    found = evaluate(setup, images_of(data.test, cell, session.device))
    with np.load(folders[0] / "predictions.npz") as stored:
        assert np.array_equal(found["probs"].astype(np.float32), stored["test_probs"])
    if method.is_mergeable(bare):
        x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            before = model.body(x)
            merged = methods.merge(method, model.body)
            assert torch.allclose(merged(x), before, atol=1e-5)


def test_only_training_images_are_shown_each_once_and_unchanged(tmp_path, monkeypatch):
    cell, sources = one_cell()
    session = Session(tmp_path, sources)
    seen = []
    real = type(build("gps")).calibrate

    def calibrate(self, backbone, batches, loss):
        seen.extend(batches)
        for images, _ in seen:
            assert len(images) <= calibration.BATCH
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(seen, batches, strict=True))
        real(self, backbone, batches, loss)

    monkeypatch.setattr(type(build("gps")), "calibrate", calibrate)
    run.run(cell, session, tmp_path / "runs")
    data = session.data(cell)
    train = images_of(data.train, cell, session.device)
    every, labels = train.still(np.arange(len(train)), session.device)
    shown = torch.cat([images for images, _ in seen])
    assert len(shown) == len(train) < 512
    rows = [int((every == image).flatten(1).all(1).nonzero()[0]) for image in shown]
    assert sorted(rows) == list(range(len(train)))
    assert torch.equal(labels[rows], torch.cat([targets for _, targets in seen]))
    other = dataclasses.replace(cell, seed=1)
    few = [
        torch.cat([y for _, y in CalibrationBatches(train, c, 20, session.device)])
        for c in (cell, cell, other)
    ]
    assert [len(y) for y in few] == [20, 20, 20]
    assert torch.equal(few[0], few[1])
    assert not torch.equal(few[0], few[2])


def test_a_delta_without_the_choice_is_refused(tmp_path):
    cell, sources = one_cell()
    session = Session(tmp_path / "cache", sources)
    run.run(cell, session, tmp_path)
    path = cell.folder(tmp_path) / "delta.safetensors"
    tensors = load_file(path)
    card = session.data(cell).dataset.card
    model, _ = run.assemble(cell, session.backbone(cell), card)
    chosen = [name for name in tensors if name.endswith("places")]
    assert all(tensors[name].dtype == torch.int32 for name in chosen)
    some = {name: t for name, t in tensors.items() if name != chosen[0]}
    with pytest.raises(InputError, match="1 tensors are missing"):
        run.load_state(model, some)


@dataclasses.dataclass(frozen=True)
class Widened(methods.Method):
    """A trained scale on features that are given twice; `says` that they are."""

    says: bool = True
    paper = "none"
    identity = False

    def edit(self, backbone):
        scale = nn.Parameter(torch.ones(backbone.num_features))
        seams.extend(backbone, Twice, scale=scale)

    def count(self, backbone):
        return backbone.num_features

    def num_features(self, backbone):
        return backbone.num_features * (2 if self.says else 1)


class Twice:
    def forward(self, x):
        pooled = super().forward(x)
        return torch.cat([pooled, self.scale * pooled], 1)


def test_the_width_of_features_is_what_a_method_says(tmp_path):
    session = Session(tmp_path / "cache", {})
    cell, _ = one_cell(methods=(f"{__name__}:Widened",))
    record = run.run(cell, session, tmp_path)
    assert record.cost.head_params == (2 * 32 + 1) * len(record.data.classes)
    cell, _ = one_cell(methods=(f"{__name__}:Widened(says=False)",))
    with pytest.raises(InputError, match=r"of shape \(64,\), though they are said to be 32 wide"):
        run.run(cell, session, tmp_path)
    verdict = auditing.examine(f"{__name__}:Widened(says=False)", "vit")
    assert "pyramid: the pooled features are 64 wide, num_features says 32" in verdict.reasons
    assert auditing.examine(f"{__name__}:Widened", "vit").state == "pass"
    cell, _ = one_cell(methods=("vqt",), datasets=("phantom_lesions",))
    assert run.run(cell, session, tmp_path) is None
    (reason,) = tmp_path.rglob("unsupported.txt")
    assert "changes the pooled features alone, and segmentation reads maps" in reason.read_text()


@dataclasses.dataclass(frozen=True)
class Choosing(methods.Method):
    """Trains one of the channels of the final norm's shift, chosen by images; `fault` breaks it."""

    fault: str = ""
    paper = "none"
    calibration_images = 16

    def edit(self, backbone):
        width = backbone.num_features
        seams.extend(backbone, Shifted, shift=nn.Parameter(torch.zeros(1)))
        place = torch.zeros(1, dtype=torch.long)
        backbone.register_buffer("place", place, persistent=self.fault != "lost")
        assert width

    def count(self, backbone):
        return 1

    def calibrate(self, backbone, batches, loss):
        if self.fault == "blind":
            return
        if self.fault == "trains":
            backbone.norm.requires_grad_(True)
        if self.fault == "moves":
            backbone.shift.data.fill_(1.0)
        with torch.no_grad():
            total = sum(backbone.patch_embed(images).mean((0, 1)) for images, _ in batches)
        backbone.place.copy_(total.abs().argmax())


class Shifted:
    def forward(self, x):
        pooled = super().forward(x)
        return pooled.index_add(1, self.place, self.shift.expand(len(x), 1))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("blind", "it chooses the same from other images"),
        ("trains", "it trains other tensors"),
        ("moves", r"calibrate changed parameters: \['shift'\]"),
        ("lost", "the same from other images"),
    ],
)
def test_the_audit_sees_what_is_wrong_with_a_choice(fault, message):
    with pytest.raises(AssertionError, match=message):
        auditing.CHECKS["calibration"](Choosing(fault), lambda: tiny_backbones.make("vit"))


def test_the_audit_passes_a_choice_that_is_right_and_run_refuses_one_that_trains_more(tmp_path):
    auditing.CHECKS["calibration"](Choosing(), lambda: tiny_backbones.make("vit"))
    cell, _ = one_cell(methods=(f"{__name__}:Choosing(fault=trains)",))
    with pytest.raises(InputError, match=r"trains other tensors after its calibrate.*norm"):
        run.run(cell, Session(tmp_path / "cache", {}), tmp_path)
