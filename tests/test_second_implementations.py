"""Methods against Hugging Face's `peft` on one layer, with the same values in both."""

import peft
import pytest
import tiny_backbones
import torch
from torch import nn
from torch.nn import functional as F

from benchmark import auditing
from benchmark.core.registry import InputError
from methods import build
from methods.boft import butterfly

torch.set_num_threads(1)
ROWS, COLUMNS, RANK = 12, 16, 4


def rival(config):
    """peft's layer over a linear one, all of its trained tensors drawn anew."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(COLUMNS, ROWS, bias=False)).requires_grad_(False)
    peft.get_peft_model(model, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return model[0]


def mine(spec, layer):
    """This project's update of the same frozen weight."""
    torch.manual_seed(1)
    return build(spec).update(layer.get_base_layer().weight.detach())


def agree(layer, update, **values):
    """Whether the two give the same output, once `update` has the values of the layer."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(update, name).copy_(value)
        x = torch.randn(3, COLUMNS)
        weight = layer.get_base_layer().weight
        assert not torch.allclose(update(weight), weight, atol=1e-3)
        assert torch.allclose(layer(x), F.linear(x, update(weight)), atol=2e-5)


def test_loha():
    layer = rival(peft.LoHaConfig(r=RANK, alpha=8, target_modules=["0"]))
    names = {"b1": "w1_a", "a1": "w1_b", "b2": "w2_a", "a2": "w2_b"}
    values = {n: getattr(layer, f"hada_{theirs}")["default"] for n, theirs in names.items()}
    agree(layer, mine("loha(rank=4,alpha=8)", layer), **values)


def test_vera():
    layer = rival(peft.VeraConfig(r=RANK, target_modules=["0"]))
    agree(
        layer,
        mine("vera(rank=4)", layer),
        a=layer.vera_A["default"],
        b=layer.vera_B["default"],
        vector_d=layer.vera_lambda_d["default"],
        vector_b=layer.vera_lambda_b["default"],
    )


def test_vera_draws_its_fixed_matrices_as_kaiming_does():
    torch.manual_seed(0)
    update = build("vera(rank=64)").update(torch.zeros(48, 96))
    # uniform, variance 2 / fan-in: Kaiming's for what a rectifier halves
    for fixed, fan_in in ((update.a, 96), (update.b, 64)):
        assert 0.98 < fixed.abs().max() / (6 / fan_in) ** 0.5 <= 1
    before = build("vera(targets=q+v,rank=64)", recorded=True).update(torch.zeros(48, 96))
    assert torch.allclose(update.b @ update.a, 2 * before.b @ before.a, atol=1e-6)


def test_hra():
    layer = rival(peft.HRAConfig(r=RANK, target_modules=["0"]))
    agree(layer, mine("hra(rank=4)", layer), u=layer.hra_u["default"].T)


def test_oft():
    config = peft.OFTConfig(oft_block_size=4, use_cayley_neumann=False, target_modules=["0"])
    layer = rival(config)
    agree(layer, mine("oft(block=4)", layer), upper=layer.oft_R["default"].weight)


def test_boft_with_one_factor():
    config = peft.BOFTConfig(boft_block_size=4, boft_n_butterfly_factor=1, target_modules=["0"])
    layer = rival(config)
    update = mine("boft(block=4,factors=1)", layer)
    with torch.no_grad():
        layer.boft_s["default"].fill_(1.0)
        blocks = layer.boft_R["default"][0]
        rows, columns = update.rotations[0].places
        skew = (blocks - blocks.transpose(1, 2)) / 2
        update.rotations[0].upper.copy_(skew[:, rows, columns])
        x, weight = torch.randn(3, COLUMNS), layer.get_base_layer().weight
        assert not torch.allclose(update(weight), weight, atol=1e-3)
        assert torch.allclose(layer(x), F.linear(x, update(weight)), atol=2e-5)


def test_boft_with_several_factors_is_a_product_of_dense_matrices():
    block, factors, columns = 4, 3, 32
    torch.manual_seed(0)
    weight = torch.randn(6, columns, dtype=torch.float64)
    update = build(f"boft(block={block},factors={factors})").update(weight).double()
    expected = weight
    with torch.no_grad():
        for level, rotation in enumerate(update.rotations):
            rotation.upper.normal_(std=0.5)
            dense = torch.zeros(columns, columns, dtype=torch.float64)
            for i, values in enumerate(rotation.upper):
                q = torch.zeros(block, block, dtype=torch.float64)
                q[tuple(torch.triu_indices(block, block, 1))] = values
                q = q - q.T
                eye = torch.eye(block)
                piece = slice(i * block, (i + 1) * block)
                dense[piece, piece] = (eye + q) @ torch.linalg.inv(eye - q)
            # the library's `block_butterfly_perm`: in each stretch even half-blocks, then odd ones
            half, stretch = block // 2, block * 2**level
            order = []
            for start in range(0, columns, stretch):
                units = [range(s, s + half) for s in range(start, start + stretch, half)]
                order += [i for unit in (*units[::2], *units[1::2]) for i in unit]
            permutation = torch.eye(columns, dtype=torch.float64)[order]
            expected = expected @ permutation @ dense @ permutation.T
        found = update(weight)
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.allclose(found @ found.T, weight @ weight.T, atol=1e-10)  # angles are kept
    # three factors carry an input to 16 others: more than one block of 4 would
    moved = update(torch.eye(columns, dtype=torch.float64))
    assert ((moved.abs() > 1e-9).sum(1) == 16).all()


@pytest.mark.parametrize(("columns", "block", "factors"), [(32, 4, 3), (96, 8, 2), (64, 4, 4)])
def test_boft_mixes_the_inputs_that_the_library_mixes(columns, block, factors):
    model = nn.Sequential(nn.Linear(columns, 2, bias=False))
    config = peft.BOFTConfig(boft_block_size=block, boft_n_butterfly_factor=1, target_modules=["0"])
    peft.get_peft_model(model, config)  # which takes one factor where there is no GPU
    for level in range(factors):
        blocks = columns // block // 2**level
        order = model[0].block_butterfly_perm(columns, blocks, block // 2, factors - 1)
        theirs = model[0].perm2mat(order).T.argmax(1).view(-1, block)
        ours = butterfly(columns, block, level).view(-1, block)
        assert {*map(frozenset, theirs.tolist())} == {*map(frozenset, ours.tolist())}


def test_fourierft():
    layer = rival(peft.FourierFTConfig(n_frequency=20, scaling=150.0, target_modules=["0"]))
    places = layer.indices["default"]
    agree(
        layer,
        mine("fourierft(number=20)", layer),
        places=places[0] * COLUMNS + places[1],
        values=layer.fourierft_spectrum["default"],
    )


def test_pissa():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(COLUMNS, ROWS, bias=False)).requires_grad_(False)
    weight = model[0].weight.clone()
    config = peft.LoraConfig(r=4, lora_alpha=4, init_lora_weights="pissa", target_modules=["0"])
    peft.inject_adapter_in_model(config, model)
    update = build("pissa(rank=4)").update(weight)
    theirs = model[0].lora_B["default"].weight @ model[0].lora_A["default"].weight
    assert torch.allclose(update.start, theirs, atol=1e-5)
    assert torch.allclose(update(weight), weight, atol=1e-6)


def test_lora_plus_is_lora_whose_b_has_another_rate():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.Module()
            self.attn.qkv = nn.Linear(8, 24)

    def outputs(spec, rate_of_b):
        torch.manual_seed(0)
        backbone = nn.Module()
        backbone.blocks, backbone.norm_pre = nn.ModuleList([Block()]), nn.Identity()
        backbone.num_prefix_tokens, backbone.num_features = 0, 8
        build(spec).attach(backbone)
        layer = backbone.blocks[0].attn.qkv
        groups = [{"params": [layer.lora_a]}, {"params": layer.lora_b, "lr": rate_of_b}]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0, eps=1e-12)
        x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
        for _ in range(4):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
        return layer(x).detach()

    plus, split = outputs("lora_plus(ratio=16)", 1e-3), outputs("lora", 16e-3)
    assert torch.allclose(plus, split, atol=1e-4)
    assert not torch.allclose(plus, outputs("lora", 1e-3), atol=1e-3)


def test_the_bridge_counts_trains_and_merges_what_the_library_adds():
    method = build('hf(tuner=LOHA,targets=fc1,options="r=2,alpha=4")')
    assert build(str(method)) == method
    backbone = tiny_backbones.make("vit")
    body = method.attach(backbone)
    assert isinstance(body.blocks[0].mlp.fc1, peft.tuners.loha.layer.Linear)
    assert method.count(tiny_backbones.make("vit")) == 2 * 2 * 2 * (32 + 128)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf(tuner=LOAR)", "unknown tuner of peft 'LOAR'; did you mean"),
        ("hf(tuner=VERA)", "VERA of peft keeps tensors outside"),
        ('hf(options="rr=2")', "LORA of peft refuses 'rr=2'"),
        ("hf(targets=fc3)", "unknown"),
    ],
)
def test_the_bridge_refuses_in_one_sentence(spec, message):
    with pytest.raises(InputError, match=message):
        build(spec)


@pytest.mark.parametrize("tuner", ["FOURIERFT", "LILY", "LOHA", "RANDLORA"])
def test_the_bridge_knows_which_tuners_start_as_the_backbone(tuner):
    method = build(f"hf(tuner={tuner})")
    auditing.CHECKS["identity"](method, lambda: tiny_backbones.make("vit"))


@pytest.mark.parametrize("tuner", ["LORA", "LOHA", "LOKR", "OFT", "HRA"])
def test_tuners_of_the_library_pass_the_audit(tuner):
    verdict = auditing.examine(f"hf(tuner={tuner})", "pvt")
    assert verdict.state == "pass", verdict.reasons
