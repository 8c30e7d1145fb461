"""How tensors lie in memory changes no number, and nothing that a later cell starts from."""

import pytest
import tiny_backbones
import torch
from safetensors.torch import load_file
from test_pristine import made
from torch import nn

import methods
from benchmark.backbones.shared import own_trained
from benchmark.bench.card import Bench
from benchmark.training import layout
from benchmark.training.artifacts import write_delta
from benchmark.training.head import Classifier, Segmenter
from benchmark.training.run import load_state, trained_state
from methods.parts.backbone import as_backbone

SPECS = ("linear", "lora", "adaptformer", "dora", "ssf", "vpt_deep", "bitfit")


def model_of(family, spec, task):
    """A model, and the modules that its body had before the method was attached."""
    method, body = methods.build(spec), tiny_backbones.make(family)
    if method.refusal(body):
        pytest.skip("n/a")
    bare = set(body.modules())
    body = as_backbone(method.attach(body))
    torch.manual_seed(1)
    if task == "classification":
        return Classifier(body, body.num_features, 3), bare
    channels = [info["num_chs"] for info in body.feature_info]
    return Segmenter(body, range(len(channels)), channels, 3), bare


def passes(model):
    """The logits of a step in bfloat16, and the gradients of what is trained."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)  # dropout
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    logits.float().square().mean().backward()
    return logits, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("family", tiny_backbones.FAMILIES)
def test_frozen_weights_in_bfloat16_give_the_numbers_of_autocast(family, task):
    spec = SPECS[(list(tiny_backbones.FAMILIES).index(family) + len(task)) % len(SPECS)]
    (plain, _), (cast, bare) = (model_of(family, spec, task) for _ in range(2))
    layout.cast_frozen(cast.body, bare)
    if spec != "ssf":  # it extends every layer
        assert any(p.dtype == torch.bfloat16 for p in cast.parameters())
    assert all(p.dtype == torch.float32 for p in cast.parameters() if p.requires_grad)
    (logits, gradients), (found, theirs) = passes(plain), passes(cast)
    assert torch.equal(found, logits)
    assert gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        assert torch.equal(theirs[name], gradient), name


DORA = 'hf(tuner=LORA,options="use_dora=True")'


@pytest.mark.parametrize("spec", [*methods.methods, DORA])
def test_no_method_reads_a_frozen_weight_that_was_cast(spec):
    if spec in ("hf", DORA):
        pytest.importorskip("peft")
    model, bare = model_of("vit", spec, "classification")
    model.eval()
    with torch.no_grad():
        for parameter in methods.trainable(model.body).values():
            parameter.add_(0.01)  # what starts at zero would hide what it is multiplied with
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        before = model(images)
        layout.cast_frozen(model.body, bare)
        assert torch.equal(model(images), before)


def test_a_frozen_head_stays_in_single_precision():
    model, bare = model_of("vit", "linear", "classification")
    model.head.bias.requires_grad_(False)  # what no gradient reaches is frozen
    layout.lay_out(model, bare, "bf16", torch.device("cpu"))
    assert {tensor.dtype for tensor in trained_state(model).values()} == {torch.float32}


def test_the_delta_of_a_model_whose_channels_lie_last_is_the_usual_one(tmp_path):
    (last, _), (other, _) = (model_of("resnet", "full", "classification") for _ in range(2))
    last.to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(1.5)
    state = trained_state(last)
    assert not all(tensor.is_contiguous() for tensor in state.values())
    write_delta(tmp_path, state)
    stored = load_file(tmp_path / "delta.safetensors")
    assert stored.keys() == state.keys()
    for name, tensor in stored.items():
        assert tensor.is_contiguous(), name
        assert torch.equal(tensor, state[name]), name
    load_state(other, stored)
    for (name, a), b in zip(last.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_shared_backbone_stays_in_single_precision():
    pristine = made("tiny_vit")
    wanted = {n: t.clone() for n, t in pristine.copy().state_dict().items()}
    copied = pristine.copy()
    bare = set(copied.modules())
    body = as_backbone(methods.build("lora").attach(copied))
    own_trained(body)
    layout.lay_out(Classifier(body, body.num_features, 3), bare, "bf16", torch.device("cpu"))
    assert body.get_parameter("blocks.0.mlp.fc1.weight").dtype == torch.bfloat16
    for name, tensor in pristine.copy().state_dict().items():
        assert tensor.dtype == wanted[name].dtype, name
        assert torch.equal(tensor, wanted[name]), name


def test_an_fp32_cell_after_one_in_bfloat16_is_what_it_is_alone(tmp_path, monkeypatch):
    bench = Bench(tmp_path, torch.device("cpu"), small=True)
    cells = [bench.cell("lora", precision=p, steps=2) for p in ("bf16", "fp32")]
    session = bench.session()
    seen, cast = [], layout.cast_frozen
    monkeypatch.setattr(layout, "cast_frozen", lambda *args: seen.append(cast(*args)))
    after = [bench.train(cell, "after", session) for cell in cells][1]
    assert len(seen) == 1  # of the first cell alone
    alone = bench.train(cells[1], "alone")
    assert after.history == alone.history
    assert after.test == alone.test


@pytest.mark.parametrize("spec", ["full", "lora", "convpass", "ssf", "linear"])
@pytest.mark.parametrize("family", ["convnext", "resnet"])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_channels_may_lie_last_in_convolutional_networks(family, spec, task):
    usual, last = (model_of(family, spec, task)[0] for _ in range(2))
    assert layout.is_convolutional(last.body)
    last.to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64)
    logits = usual(images), last(images)
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)
    for found in logits:
        found.square().mean().backward()
    for (name, a), b in zip(usual.named_parameters(), last.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_networks_of_tokens_are_left_as_they_are():
    assert not layout.is_convolutional(tiny_backbones.make("vit"))
    assert not layout.is_convolutional(nn.Linear(2, 2))
