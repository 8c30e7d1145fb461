"""How tensors lie in memory changes no number, and nothing that a later cell starts from."""

import pytest
import tiny_backbones
import torch
from test_pristine import made
from torch import nn

import methods
from benchmark.backbones.shared import own_trained
from benchmark.bench.card import Bench
from benchmark.training import layout
from benchmark.training.head import Classifier, Segmenter
from methods.parts.backbone import as_backbone

SPECS = ("linear", "lora", "adaptformer", "dora", "ssf", "vpt_deep", "bitfit")


def model_of(family, spec, task):
    method, body = methods.build(spec), tiny_backbones.make(family)
    if method.refusal(body):
        pytest.skip("n/a")
    body = as_backbone(method.attach(body))
    torch.manual_seed(1)
    if task == "classification":
        return Classifier(body, body.num_features, 3)
    channels = [info["num_chs"] for info in body.feature_info]
    return Segmenter(body, range(len(channels)), channels, 3)


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
    plain, cast = (model_of(family, spec, task) for _ in range(2))
    layout.cast_frozen(cast)
    if spec != "ssf":  # it extends every layer
        assert any(p.dtype == torch.bfloat16 for p in cast.parameters())
    assert all(p.dtype == torch.float32 for p in cast.parameters() if p.requires_grad)
    (logits, gradients), (found, theirs) = passes(plain), passes(cast)
    assert torch.equal(found, logits)
    assert gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        assert torch.equal(theirs[name], gradient), name


def test_the_shared_backbone_stays_in_single_precision():
    pristine = made("tiny_vit")
    wanted = {n: t.clone() for n, t in pristine.copy().state_dict().items()}
    body = as_backbone(methods.build("lora").attach(pristine.copy()))
    own_trained(body)
    layout.lay_out(Classifier(body, body.num_features, 3), "bf16", torch.device("cpu"))
    assert body.get_parameter("blocks.0.mlp.fc1.weight").dtype == torch.bfloat16
    for name, tensor in pristine.copy().state_dict().items():
        assert tensor.dtype == wanted[name].dtype, name
        assert torch.equal(tensor, wanted[name]), name


def test_an_fp32_cell_after_one_in_bfloat16_is_what_it_is_alone(tmp_path, monkeypatch):
    bench = Bench(tmp_path, torch.device("cpu"), small=True)
    cells = [bench.cell("lora", precision=p, steps=2) for p in ("bf16", "fp32")]
    session = bench.session()
    seen, cast = [], layout.cast_frozen
    monkeypatch.setattr(layout, "cast_frozen", lambda model: seen.append(cast(model)))
    after = [bench.train(cell, "after", session) for cell in cells][1]
    assert len(seen) == 1  # of the first cell alone
    alone = bench.train(cells[1], "alone")
    assert after.history == alone.history
    assert after.test == alone.test


@pytest.mark.parametrize("spec", ["full", "lora", "convpass", "ssf", "linear"])
@pytest.mark.parametrize("family", ["convnext", "resnet"])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_channels_may_lie_last_in_convolutional_networks(family, spec, task):
    usual, last = (model_of(family, spec, task) for _ in range(2))
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
