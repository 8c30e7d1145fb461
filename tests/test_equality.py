"""Methods against their authors' code, whose formulas are written here a second time."""

import dataclasses
import math

import pytest
import timm
import tiny_backbones
import torch
from torch import nn
from torch.nn import functional as F

import methods
from benchmark.core.registry import InputError
from methods import build

torch.set_num_threads(1)


def attached(spec, backbone, seed=0):
    """The method on a double-precision backbone, every trained tensor drawn anew."""
    body = build(spec).attach(backbone.double()).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in methods.trainable(body).values():
            parameter.normal_(std=0.3)
    return body


def vit(**kwargs):
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **{**sizes, **kwargs}).eval()


def images(side=32, number=2):
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1)).double()


def embedded(body, x):
    """Tokens before `norm_pre`."""
    return body._pos_embed(body.patch_embed(x))


def test_dvpt_released_sends_prompts_through_the_norm_of_clip():
    backbone = vit(pre_norm=True)
    nn.init.normal_(backbone.norm_pre.weight)
    body = attached("dvpt_released(prompts=3,bottleneck=2)", backbone)
    prompts = (body.norm_pre.prompts + body.norm_pre.prompt_positions).expand(2, -1, -1)
    norm = body.norm_pre
    tokens = torch.cat([prompts, embedded(body, images())], 1)  # the authors put prompts first
    tokens = F.layer_norm(tokens, (16,), norm.weight, norm.bias, norm.eps)
    for block in body.blocks:
        module = block.dynamic
        u = tokens + block.attn(nn.LayerNorm.forward(block.norm1, tokens))
        z = module.down(u)
        added = module.gate * module.up(z * torch.sigmoid(1.702 * z))
        tokens = u + block.mlp(nn.LayerNorm.forward(block.norm2, u)) + added
    expected = body.norm(tokens)[:, 3]  # CLS follows the prompts
    assert torch.allclose(body(images()), expected, atol=1e-12)
    old = build("dvpt_released(bottleneck=2,prompts=3,share=3)", recorded=True)
    assert not old.normed


def test_vpt_deep_on_swin_norms_prompts_with_the_tokens():
    backbone = tiny_backbones.make("swin")
    body = attached("vpt_deep(prompts=2)", backbone)
    block = body.layers[0].blocks[0]
    x = torch.randn(1, 4, 4, 16, dtype=torch.float64)
    prompts = block.attn.prompts
    # the authors: prompts stand before the tokens of the window, then norm1, then attention
    tokens = block.norm1(torch.cat([prompts[None], x.flatten(1, 2)], 1))
    attn = block.attn
    q, k, v = attn.qkv(tokens).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    bias = F.pad(type(attn).extends._get_rel_pos_bias(attn), (2, 0, 2, 0))
    weights = (q * attn.scale @ k.transpose(-2, -1) + bias).softmax(-1)
    mixed = attn.proj((weights @ v).transpose(1, 2).flatten(2))[:, 2:]
    u = x + mixed.view_as(x)
    expected = u + block.mlp(block.norm2(u))
    small = type(block).forward  # a map of one window: no shift, no mask
    found = small(block, x) if block.window_size == (4, 4) else None
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-12)


def released_tucker(u_in, core, columns):
    """The authors' `FacTc @ FacTp[:, i : i + n]`, their core being (in, out, latent)."""
    return core.permute(2, 1, 0) @ columns.T


def test_fact_tk_is_the_released_code():
    body = attached("fact_tk(rank=3,scale=0.7)", vit())
    mlp = body.blocks[0].mlp
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    fc1, fc2 = mlp.fc1, mlp.fc2
    u, v = fc1.u, fc1.v
    both = released_tucker(u, fc1.core, torch.cat([fc1.mixing, fc2.mixing]))  # (3, 3, 8)
    first, second = both[:, :, :4].reshape(3, 12), both[:, :, 4:].reshape(3, 12)
    hidden = F.linear(x, fc1.base_weight, fc1.bias)
    hidden = hidden + 0.7 * ((x @ u @ first).reshape(2, 5, 4, 3) @ v.T).reshape(2, 5, 64)
    assert torch.allclose(fc1(x), hidden, atol=1e-12)
    y = F.gelu(hidden)
    out = F.linear(y, fc2.base_weight, fc2.bias)
    inner = (y.reshape(2, 5, 4, 16) @ u).reshape(2, 5, 12) @ second.T
    assert torch.allclose(fc2(y), out + 0.7 * inner @ v.T, atol=1e-12)
    qkv = body.blocks[1].attn.qkv
    pieces = released_tucker(u, qkv.core, qkv.mixing)
    parts = [x @ u @ pieces[:, :, i] @ v.T for i in range(3)]
    expected = F.linear(x, qkv.base_weight, qkv.bias) + 0.7 * torch.cat(parts, -1)
    assert torch.allclose(qkv(x), expected, atol=1e-12)


def test_fact_tt_is_the_released_code():
    body = attached("fact_tt(rank=3,scale=0.7)", vit())
    fc1, fc2 = body.blocks[0].mlp.fc1, body.blocks[0].mlp.fc2
    x, y = torch.randn(2, 5, 16).double(), torch.randn(2, 5, 64).double()
    first = fc1.core.flatten(0, 1)  # their Linear(r, 4 r)
    added = ((x @ fc1.u @ first.T).reshape(2, 5, 4, 3) @ fc1.v.T).reshape(2, 5, 64)
    assert torch.allclose(fc1(x), F.linear(x, fc1.base_weight, fc1.bias) + 0.7 * added, atol=1e-12)
    second = torch.cat(list(fc2.core), 1)  # their Linear(4 r, r)
    inner = (y.reshape(2, 5, 4, 16) @ fc2.u).reshape(2, 5, 12) @ second.T
    expected = F.linear(y, fc2.base_weight, fc2.bias) + 0.7 * inner @ fc2.v.T
    assert torch.allclose(fc2(y), expected, atol=1e-12)


@pytest.mark.parametrize(("spec", "rms"), [("fact_tt(rank=16)", 0.33), ("fact_tk(rank=16)", 0.068)])
def test_fact_starts_at_the_size_of_the_released_code(spec, rms):
    # rms of Sigma U^T x for x of unit rms, over all pieces of a ViT-B: what V's first steps see
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("vit_base_patch16_224", num_classes=0, depth=12)
        body = build(spec).attach(model)
    x = torch.randn(64, 768, generator=torch.Generator().manual_seed(0))
    layers = [m for b in body.blocks for m in (b.attn.qkv, b.attn.proj, b.mlp.fc1)]
    sizes = [torch.einsum("br,psr->bps", x @ m.u, m.sigma()).square().mean() for m in layers]
    assert torch.stack(sizes).mean().sqrt().item() == pytest.approx(rms, rel=0.15)


def test_vpt_draws_prompts_as_the_authors_do():
    backbone = timm.create_model("vit_base_patch16_224", num_classes=0, depth=1)
    torch.manual_seed(0)
    prompts = build("vpt_shallow").attach(backbone).norm_pre.prompts
    bound = math.sqrt(6 / (3 * 16 * 16 + 768))
    assert 0.98 * bound < prompts.abs().max() <= bound
    assert prompts.std().item() == pytest.approx(0.036, abs=0.001)


def test_the_gate_of_lst_has_the_authors_temperature():
    body = attached("lst(bottleneck=4)", vit())
    rung, fresh = body.rungs[1], build("lst").attach(vit()).rungs[1]
    assert fresh.gate == 0
    state = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    features = torch.randn(1, 16, 4, 4, dtype=torch.float64)
    normed = F.layer_norm(features.movedim(1, -1), (16,)).movedim(-1, 1)
    share = torch.sigmoid(rung.gate / 0.1)
    read = share * state + (1 - share) * rung.down(normed)
    expected = read + rung.pointwise(F.gelu(rung.depthwise(read)))
    assert torch.allclose(rung(state, features), expected)


def test_adaptformer_reads_the_residual_as_its_code_does():
    body = attached("adaptformer(bottleneck=4,reads_from=residual)", vit())
    block, x = body.blocks[0], torch.randn(2, 5, 16, dtype=torch.float64)
    u = x + block.attn(block.norm1(x))
    adapter = block.dynamic
    added = 0.1 * adapter.up(F.relu(adapter.down(u)))
    expected = u + block.mlp(nn.LayerNorm.forward(block.norm2, u)) + added
    assert torch.allclose(block(x), expected, atol=1e-12)


DROPPING = ("adaptformer", "convpass", "repadapter", "fact_tt(rank=4)", "fact_tk(rank=4)")


@pytest.mark.parametrize("spec", DROPPING)
def test_a_tenth_is_dropped_in_training_only(spec):
    assert build(spec).dropout == 0.1
    body, x = attached(spec, vit()), images()
    assert torch.equal(body(x), body(x))
    body.train()
    assert not torch.equal(body(x), body(x))
    still = attached(str(dataclasses.replace(build(spec), dropout=0.0)), vit())
    assert torch.equal(still.train()(x), still(x))


@pytest.mark.parametrize("spec", ["vpt_shallow(prompts=3)", "dvpt(merge=rows,prompts=3)"])
def test_prompts_on_a_vit_of_dynamic_image_size(spec):
    torch.manual_seed(0)
    dynamic, fixed = vit(dynamic_img_size=True), vit()
    fixed.load_state_dict(dynamic.state_dict())
    bodies = [attached(spec, backbone) for backbone in (dynamic, fixed)]
    assert torch.allclose(bodies[0](images()), bodies[1](images()))
    assert bodies[0](images(48)).isfinite().all()
    assert bodies[0].num_prefix_tokens == 4


def test_records_from_before_a_field_keep_their_meaning_and_key():
    for name in methods.methods:
        younger = [f for f in dataclasses.fields(methods.methods[name]) if "recorded" in f.metadata]
        if not younger:
            continue
        today = build(name)
        fields = {f.name: getattr(today, f.name) for f in dataclasses.fields(today)}
        old = methods.base.format_spec(
            name, {n: v for n, v in fields.items() if n not in {f.name for f in younger}}
        )
        then = build(old, recorded=True)
        for field in younger:
            assert getattr(then, field.name) == field.metadata["recorded"], (name, field.name)
        unchanged = all(f.default == f.metadata["recorded"] for f in younger)
        assert (str(today) == old) == unchanged, "a changed default makes another cell"
        assert build(str(then)) == then


def test_a_class_without_count_or_edit_is_named():
    with pytest.raises(InputError, match="Half must define count"):
        type("Half", (methods.Method,), {"edit": lambda self, backbone: None})
    with pytest.raises(InputError, match=r"edit\(self, backbone\) and count"):
        type("None_", (methods.Method,), {})


def test_more_prompts_than_image_tokens_are_remarked():
    with pytest.warns(UserWarning, match="inserts 50 tokens beside 16 of the image"):
        build("dvpt(merge=rows)").attach(vit())


@pytest.mark.parametrize(
    ("family", "norm"),
    [
        ("vit", "norm"),
        ("swin", "norm"),
        ("eva02", "fc_norm"),
        ("convnext", "head.norm"),
        ("pvt", "stages.3.norm"),
    ],
)
def test_partial_trains_the_norm_behind_the_last_block_as_vpt_does(family, norm):
    def trained(spec, recorded=False):
        body = build(spec, recorded=recorded).attach(tiny_backbones.make(family))
        return set(methods.trainable(body))

    behind = {f"{norm}.weight", f"{norm}.bias"}
    assert trained("partial") - trained("partial(norm=False)") == behind
    assert trained("partial(blocks=1)", recorded=True) == trained("partial(norm=False)")
