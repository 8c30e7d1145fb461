"""Look-alikes of published checkpoints: tiny, their names written out from the real ones."""

import argparse
import json
import math

import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmark import backbones
from benchmark.__main__ import main
from benchmark.backbones import networks
from benchmark.core.registry import InputError

TINY = "embed_dim=32,depth=2,num_heads=2,patch_size=8"
SIDE = 32


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))


def vit(*, tokens=17, hidden=128, gated=False, scale=False, registers=0, fused="mlp.fc1"):
    """Names and shapes of a plain ViT of width 32: two blocks, patches of 8 on images of 32."""
    shapes = {
        "cls_token": (1, 1, 32),
        "pos_embed": (1, tokens, 32),
        "patch_embed.proj.weight": (32, 3, 8, 8),
        "patch_embed.proj.bias": (32,),
        "norm.weight": (32,),
        "norm.bias": (32,),
    }
    if registers:
        shapes["reg_token"] = (1, registers, 32)
    for i in (0, 1):
        layers = {"attn.qkv": (96, 32), "attn.proj": (32, 32)}
        layers |= {fused: (hidden, 32), "mlp.fc2": (32, hidden // 2 if gated else hidden)}
        for name, shape in layers.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.{kind}": (32,) for kind in ("weight", "bias")}
        shapes |= {f"blocks.{i}.ls{n}.gamma": (32,) for n in (1, 2)} if scale else {}
    return shapes


def drawn(shapes, seed=0):
    torch.manual_seed(seed)
    return {name: 0.2 * torch.randn(shape) for name, shape in shapes.items()}


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


DECODER = {
    "mask_token": (1, 1, 16),
    "decoder_pos_embed": (1, 17, 16),
    "decoder_embed.weight": (16, 32),
    "decoder_embed.bias": (16,),
    "decoder_blocks.0.attn.qkv.weight": (48, 16),
    "decoder_norm.weight": (16,),
    "decoder_pred.weight": (192, 16),
}
DINO_HEAD = {"mlp.0.weight": (8, 32), "mlp.0.bias": (8,), "last_layer.weight_g": (4, 1)}
PARSED = argparse.Namespace(lr=0.1, data="somewhere")


def mae(core):
    file = {"model": core | drawn(DECODER), "epoch": 3, "args": PARSED, "optimizer": {"state": {}}}
    counts = dict.fromkeys([*(n.partition(".")[0] for n in DECODER)], 1) | {"decoder_embed": 2}
    return file, counts


def dino(core):
    student = under("module.backbone.", drawn(vit(), 1)) | under("module.head.", drawn(DINO_HEAD))
    teacher = under("backbone.", core) | under("head.", drawn(DINO_HEAD))
    return {"student": student, "teacher": teacher, "epoch": 3}, {"head": 3, "student": 33}


def dinov2(core):
    teacher = under("backbone.", core) | {"backbone.mask_token": torch.zeros(1, 32)}
    for head in ("dino_head.", "ibot_head."):
        teacher |= under(head, drawn(DINO_HEAD))
    return {"teacher": teacher}, {"dino_head": 3, "ibot_head": 3, "mask_token": 1}


def chunked(core):
    """DINOv2 in training: blocks in chunks, gated layers under the authors' names."""
    names = {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3", "blocks.1.": "blocks.1.1."}
    file = {}
    for name, tensor in core.items():
        for new, old in {**names, "blocks.0.": "blocks.0.0."}.items():
            name = name.replace(new, old)
        file[name] = tensor
    return file, {}


def open_clip(core):
    file = under("visual.trunk.", core) | {"logit_scale": torch.zeros(())}
    file |= {"visual.head.proj.weight": torch.zeros(8, 32)}
    file |= {"text.transformer.encoder.layer.0.output.dense.weight": torch.zeros(8, 8)}
    file |= {"text.proj.0.weight": torch.zeros(8, 8)}
    return file, {"logit_scale": 1, "visual.head": 1, "text": 2}


def openai_clip(core):
    pairs = [("patch_embed.proj", "conv1"), ("norm_pre", "ln_pre"), ("blocks", "T.resblocks")]
    pairs += [("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj")]
    pairs += [("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")]
    pairs += [("norm1", "ln_1"), ("norm2", "ln_2"), ("pos_embed", "positional_embedding")]
    pairs += [("cls_token", "class_embedding"), ("T.", "transformer.")]
    file = {}
    for name, tensor in core.items():
        name = "ln_post." + name[5:] if name.startswith("norm.") else name
        for new, old in pairs:
            name = name.replace(new, old)
        file["visual." + name] = tensor
    file["visual.class_embedding"] = file["visual.class_embedding"][0, 0]
    file["visual.positional_embedding"] = file["visual.positional_embedding"][0]
    file |= {"visual.proj": torch.zeros(32, 8), "token_embedding.weight": torch.zeros(9, 8)}
    file |= under("transformer.resblocks.0.", {"attn.in_proj_weight": torch.zeros(24, 8)})
    file |= {"positional_embedding": torch.zeros(5, 8), "text_projection": torch.zeros(8, 8)}
    others = ("proj", "token_embedding", "transformer", "positional_embedding", "text_projection")
    return file, dict.fromkeys(others, 1)


def plain(core):
    return core, {}


CLIP_CORE = {n: s for n, s in vit().items() if n != "patch_embed.proj.bias"}
CLIP_CORE |= {"norm_pre.weight": (32,), "norm_pre.bias": (32,)}
TAILED = {**{n: s for n, s in vit().items() if not n.startswith("norm.")}}
TAILED |= {"fc_norm.weight": (32,), "fc_norm.bias": (32,), "head.weight": (5, 32)}
GATED = {"hidden": 170, "gated": True}  # int(32 * 2.66667 * 2), halves of 85
# what the file is, the backbone it is loaded as, the tensors of the network, the layout of the file
LOOKALIKES = {
    "RETFound MAE": ("retfound_mae_cfp", vit(), mae),
    "RETFound MAE (OCT)": ("retfound_mae_oct", vit(), mae),
    "RETFound DINOv2": ("retfound_dinov2", vit(scale=True), dinov2),
    "UNI": ("uni", vit(scale=True), plain),
    "UNI2-h": ("uni2_h", vit(scale=True, tokens=16, registers=8, **GATED), plain),
    "Virchow2": ("virchow2", vit(scale=True, tokens=21, registers=4, **GATED), plain),
    "H-optimus-0": ("h_optimus_0", vit(scale=True, tokens=16, registers=4, **GATED), plain),
    "Prov-GigaPath": ("gigapath", vit(scale=True, **GATED), plain),
    "BiomedCLIP": ("biomedclip", vit(), open_clip),
    "DINO": ("vit_small_patch16_224", vit(), dino),
    "DINOv2 in chunks": ("vit_giant_patch14_dinov2", vit(scale=True, **GATED), chunked),
    "OpenAI CLIP": ("vit_base_patch16_clip_224", CLIP_CORE, openai_clip),
    "MAE": ("vit_base_patch16_224", vit(), mae),
    "DataParallel": ("vit_base_patch16_224", vit(), lambda core: (under("module.", core), {})),
    "Lightning": (
        "vit_base_patch16_224",
        vit(),
        lambda core: (
            {
                "state_dict": under("model.backbone.", core)
                | {"model.head.weight": core["norm.bias"]},
                "epoch": 1,
                "hyper_parameters": {"lr": 0.1},
            },
            {"model.head": 1},
        ),
    ),
}


def written(tmp_path, file, name="look_alike"):
    if all(isinstance(v, torch.Tensor) for v in file.values()):
        save_file({k: v.clone() for k, v in file.items()}, tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.safetensors"
    torch.save(file, tmp_path / f"{name}.pth")
    return tmp_path / f"{name}.pth"


@pytest.mark.parametrize("case", LOOKALIKES)
def test_look_alikes_load_whole(case, tmp_path, recwarn):
    name, shapes, layout = LOOKALIKES[case]
    core = drawn(shapes)
    file, ignored = layout(core)
    spec = f"file:{written(tmp_path, file)}@{name}({TINY})"
    model = backbones.create(spec, SIDE)
    found = model.state_dict()
    assert found.keys() == core.keys()
    assert all(torch.equal(found[key], core[key]) for key in core)
    assert backbones.left_out(spec) == ignored
    told = [str(w.message) for w in recwarn if "left out" in str(w.message)]
    assert bool(told) == bool(ignored)
    assert all(f"{part} ({count})" in told[0] for part, count in ignored.items())
    assert model(torch.rand(1, 3, SIDE, SIDE)).shape == (1, 32)


def test_a_class_token_with_a_position_is_one_without(tmp_path):
    # DINOv2 with registers: positions for class token and patches, none for registers
    shapes = vit(scale=True, registers=4)
    core = drawn(shapes)
    file = {("register_tokens" if n == "reg_token" else n): t for n, t in core.items()}
    file["mask_token"] = torch.zeros(1, 32)
    path = written(tmp_path, file)
    model = backbones.create(f"file:{path}@vit_base_patch14_reg4_dinov2({TINY})", SIDE)
    x = torch.rand(2, 3, SIDE, SIDE)
    patches = torch.nn.functional.conv2d(
        x, core["patch_embed.proj.weight"], core["patch_embed.proj.bias"], 8
    )
    tokens = torch.cat([core["cls_token"].expand(2, 1, 32), patches.flatten(2).mT], 1)
    tokens = tokens + core["pos_embed"]
    expected = torch.cat([tokens[:, :1], core["reg_token"].expand(2, 4, 32), tokens[:, 1:]], 1)
    assert torch.allclose(model._pos_embed(model.patch_embed(x)), expected, atol=1e-6)


def sam_trunk(depth=2):
    """Names of SAM's encoder in the authors' file, patches of 16 on images of 64."""
    shapes = {"pos_embed": (1, 4, 4, 32), "patch_embed.proj.weight": (32, 3, 16, 16)}
    shapes |= {"patch_embed.proj.bias": (32,), "neck.0.weight": (8, 32, 1, 1)}
    shapes |= {"neck.2.weight": (8, 8, 3, 3)}
    shapes |= {f"neck.{i}.{kind}": (8,) for i in (1, 3) for kind in ("weight", "bias")}
    for i in range(depth):
        side = (2, 4)[i]  # a window, then the whole image
        layers = {"attn.qkv": (96, 32), "attn.proj": (32, 32)}
        layers |= {"mlp.lin1": (64, 32), "mlp.lin2": (32, 64)}
        for name, shape in layers.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.{kind}": (32,) for kind in ("weight", "bias")}
        shapes |= {f"blocks.{i}.attn.rel_pos_{axis}": (2 * side - 1, 16) for axis in "hw"}
    return shapes


SAM = "embed_dim=32,depth=2,num_heads=2,window_size=2,global_attn_indexes=(1,)"
SAM += ",neck_chans=8,mlp_ratio=2"


def test_the_encoder_of_sam_is_found_in_the_authors_file(tmp_path):
    core = drawn(sam_trunk())
    file = under("image_encoder.", core)
    file |= {"prompt_encoder.not_a_point_embed.weight": torch.zeros(1, 8)}
    file |= {"mask_decoder.iou_token.weight": torch.zeros(1, 8), "pixel_mean": torch.zeros(3, 1, 1)}
    spec = f"file:{written(tmp_path, file)}@medsam({SAM})"
    found = backbones.create(spec, 64).state_dict()
    assert len(found) == len(core)
    for name, tensor in core.items():
        assert torch.equal(found[name.replace("mlp.lin", "mlp.fc")], tensor), name
    assert backbones.left_out(spec) == {"prompt_encoder": 1, "mask_decoder": 1, "pixel_mean": 1}
    assert backbones.preprocessing(spec)["mean"] == [0, 0, 0]


def sam2_trunk():
    """Names of SAM 2's encoder in the authors' file: one block a stage, twice as wide each time."""
    shapes = {"pos_embed": (1, 8, 7, 7), "pos_embed_window": (1, 8, 8, 8)}
    shapes |= {"patch_embed.proj.weight": (8, 3, 7, 7), "patch_embed.proj.bias": (8,)}
    for i, (before, width) in enumerate([(8, 8), (8, 16), (16, 32), (32, 64)]):
        layers = {"attn.qkv": (3 * width, before), "attn.proj": (width, width)}
        layers |= {"mlp.layers.0": (4 * width, width), "mlp.layers.1": (width, 4 * width)}
        layers |= {"proj": (width, before)} if before != width else {}
        for name, shape in layers.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        for name, size in (("norm1", before), ("norm2", width)):
            shapes |= {f"blocks.{i}.{name}.{kind}": (size,) for kind in ("weight", "bias")}
    return shapes


def test_the_encoder_of_sam2_is_found_and_its_norm_has_no_weights(tmp_path, recwarn):
    core = drawn(sam2_trunk())
    file = under("image_encoder.trunk.", core) | {"maskmem_tpos_enc": torch.zeros(7, 1, 1, 8)}
    file |= {"image_encoder.neck.convs.0.conv.weight": torch.zeros(8, 64, 1, 1)}
    file |= {"memory_attention.norm.weight": torch.zeros(8), "sam_mask_decoder.x": torch.zeros(1)}
    arguments = "embed_dim=8,stages=(1,1,1,1),window_spec=(8,4,2,2),global_att_blocks=()"
    spec = f"file:{written(tmp_path, {'model': file})}@sam2_hiera_t({arguments})"
    model = backbones.create(spec, 64)
    found = model.state_dict()
    for name, tensor in core.items():
        new = name.replace("mlp.layers.0", "mlp.fc1").replace("mlp.layers.1", "mlp.fc2")
        assert torch.equal(found.pop(new), tensor), name
    assert {n: t.unique().tolist() for n, t in found.items()} == {
        "head.norm.weight": [1.0],
        "head.norm.bias": [0.0],
    }
    assert "head.norm.bias, head.norm.weight set to the identity" in str(recwarn[0].message)
    assert backbones.left_out(spec) == {
        "maskmem_tpos_enc": 1,
        "image_encoder.neck": 1,
        "memory_attention": 1,
        "sam_mask_decoder": 1,
    }
    maps = model.forward_features(torch.rand(1, 3, 64, 64))
    assert maps.shape == (1, 2, 2, 64)


@pytest.mark.parametrize("side", [32, 96])
def test_sam_at_another_size_is_what_it_computes_by_itself(tmp_path, side):
    path = written(tmp_path, under("image_encoder.", drawn(sam_trunk())))
    at_size = backbones.create(f"file:{path}@medsam({SAM})", side)
    own = backbones.create(f"file:{path}@medsam({SAM})", 64)
    x = torch.rand(1, 3, side, side)
    with torch.no_grad():
        assert torch.allclose(at_size(x), own(x), atol=1e-5)
    assert at_size.blocks[1].attn.rel_pos_h.shape[0] == 2 * side // 16 - 1


def test_hiera_at_another_size_has_its_positions_resized(tmp_path):
    arguments = {"embed_dim": 8, "stages": (1, 1, 1, 1)}
    torch.manual_seed(0)
    own = timm.create_model("hiera_tiny_224", num_classes=0, img_size=64, **arguments).eval()
    path = written(tmp_path, own.state_dict())
    spec = f"file:{path}@hiera_tiny_224(embed_dim=8,stages=(1,1,1,1))"
    assert torch.equal(backbones.create(spec, 64).pos_embed, own.pos_embed)
    grid = own.pos_embed.detach().reshape(1, 16, 16, 8).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, (8, 8), mode="bicubic", antialias=True)
    found = backbones.create(spec, 32)
    assert torch.allclose(found.pos_embed, resized.flatten(2).mT, atol=1e-6)
    assert found(torch.rand(1, 3, 32, 32)).shape == (1, 64)


# --- networks of transformers, whose own forward pass says what the tokens must be ---


def transformers_cases():
    import transformers as hf

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
    small |= {"image_size": SIDE}
    plain = {**small, "intermediate_size": 64}
    dino = {**small, "mlp_ratio": 2, "layerscale_value": 0.5}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    text |= {"intermediate_size": 16, "max_position_embeddings": 4}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1}
    decoder |= {"decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
    return {
        "ViT": lambda: hf.ViTModel(hf.ViTConfig(**plain)),
        "ViT classifier": lambda: hf.ViTForImageClassification(hf.ViTConfig(**plain)),
        "ViT-MAE": lambda: hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**plain, **decoder)),
        "RAD-DINO": lambda: hf.Dinov2Model(hf.Dinov2Config(**dino)),
        "DINOv2, gated": lambda: hf.Dinov2Model(hf.Dinov2Config(**dino, use_swiglu_ffn=True)),
        "DINOv2 classifier": lambda: hf.Dinov2ForImageClassification(hf.Dinov2Config(**dino)),
        "DINOv2, registers": lambda: hf.Dinov2WithRegistersModel(
            hf.Dinov2WithRegistersConfig(**dino, num_register_tokens=3)
        ),
        "DINOv3": lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**plain, num_register_tokens=4)),
        "DINOv3, gated": lambda: hf.DINOv3ViTModel(
            hf.DINOv3ViTConfig(
                **{**plain, "intermediate_size": 60, "hidden_act": "silu"},
                num_register_tokens=4,
                use_gated_mlp=True,
            )
        ),
        "DINOv3, no bias": lambda: hf.DINOv3ViTModel(
            hf.DINOv3ViTConfig(**plain, query_bias=False, value_bias=False, num_register_tokens=2)
        ),
        "CLIP, vision": lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**plain)),
        "CLIP": lambda: hf.CLIPModel(hf.CLIPConfig(vision_config=plain, text_config=text)),
        "SigLIP": lambda: hf.SiglipModel(hf.SiglipConfig(vision_config=plain, text_config=text)),
        "SAM": lambda: hf.SamModel(hf.SamConfig(vision_config=SAM_CONFIG)),
    }


SAM_CONFIG = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64}
SAM_CONFIG |= {"image_size": 64, "patch_size": 16, "window_size": 3, "global_attn_indexes": [1]}
SAM_CONFIG |= {"output_channels": 8}
NAMES = ("ViT", "ViT classifier", "ViT-MAE", "RAD-DINO", "DINOv2, gated", "DINOv2 classifier")
NAMES += (
    "DINOv3",
    "DINOv3, gated",
    "DINOv3, no bias",
    "DINOv2, registers",
    "CLIP, vision",
    "CLIP",
    "SigLIP",
    "SAM",
)


def saved(name, folder):
    """A network of transformers with drawn weights, saved as that library saves it."""
    model = transformers_cases()[name]().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    told = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return model


def tokens_of(name, model, x):
    """What the library itself computes: tokens after the last norm, or pooled features."""
    if name == "SAM":
        return model.vision_encoder(x).last_hidden_state
    if name == "ViT-MAE":  # masks patches at random even in evaluation
        vit = model.vit
        hidden = vit.embeddings.patch_embeddings(x) + vit.embeddings.position_embeddings[:, 1:]
        first = vit.embeddings.cls_token + vit.embeddings.position_embeddings[:, :1]
        hidden = torch.cat([first.expand(len(x), -1, -1), hidden], 1)
        for layer in vit.layers:
            hidden = layer(hidden)
        return vit.layernorm(hidden)
    if name in ("CLIP", "SigLIP"):
        return model.vision_model(x).pooler_output
    if name == "CLIP, vision":
        return model(x).pooler_output
    inner = getattr(model, "vit", None) or getattr(model, "dinov2", None) or model
    return inner(x).last_hidden_state


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_transformers(name, tmp_path):
    pytest.importorskip("transformers")
    source = saved(name, tmp_path / "folder")
    side = 64 if name == "SAM" else SIDE
    spec = f"local-dir:{tmp_path / 'folder'}"
    model = backbones.create(spec, side)
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = tokens_of(name, source, x)
        found = model(x) if expected.ndim == 2 else model.forward_features(x)
    assert torch.allclose(found, expected, atol=2e-5), (found - expected).abs().max()
    assert backbones.resolve(spec).name == "local-dir:folder"
    assert backbones.resolve(spec).default_size == side
    assert backbones.preprocessing(spec)["std"] == [0.4, 0.5, 0.6]


def test_a_network_of_transformers_is_also_known_by_name(tmp_path):
    pytest.importorskip("transformers")
    source = saved("RAD-DINO", tmp_path)
    spec = f"file:{tmp_path / 'model.safetensors'}@rad_dino({TINY},mlp_ratio=2.0)"
    model, x = backbones.create(spec, SIDE), torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(model.forward_features(x), source(x).last_hidden_state, atol=2e-5)
    assert backbones.preprocessing(spec)["mean"] == [0.5307] * 3


def test_fused_layers_under_the_names_of_version_five_are_joined(tmp_path):
    pytest.importorskip("transformers")
    source = saved("ViT", tmp_path)
    path = written(tmp_path, {"state_dict": source.state_dict()})
    spec = f"file:{path}@vit_base_patch16_224({TINY},mlp_ratio=2.0)"
    model, x = backbones.create(spec, SIDE), torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(model.forward_features(x), source(x).last_hidden_state, atol=2e-5)
    assert backbones.left_out(spec) == {"pooler": 2}


def test_dinov3_is_also_known_by_name(tmp_path):
    pytest.importorskip("transformers")
    source = saved("DINOv3", tmp_path)
    path = tmp_path / "model.safetensors"
    tiny = f"{TINY},mlp_ratio=2.0"
    spec = f"file:{path}@vit_s16_dinov3({tiny},qkv_bias=True,init_values=1.0)"
    model, x = backbones.create(spec, SIDE), torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(model.forward_features(x), source(x).last_hidden_state, atol=2e-5)
    with pytest.raises(InputError, match=r"q_bias.*try @NAME\(qkv_bias=True\)"):
        backbones.create(f"file:{path}@vit_s16_dinov3({tiny})", SIDE)


# --- weights in several files ---


def test_weights_in_several_files_are_those_of_one(tmp_path):
    pytest.importorskip("transformers")
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    source = saved("RAD-DINO", whole)
    source.save_pretrained(parted, max_shard_size="30KB")
    (parted / "preprocessor_config.json").write_text(
        (whole / "preprocessor_config.json").read_text()
    )
    index = parted / "model.safetensors.index.json"
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
    models = [backbones.create(f"local-dir:{folder}", SIDE) for folder in (whole, parted)]
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    names = ("whole", "parted")
    assert len({backbones.fingerprint(f"local-dir:{tmp_path / name}") for name in names}) == 1
    named = backbones.create(f"file:{index}@rad_dino({TINY},mlp_ratio=2.0)", SIDE)
    assert torch.equal(named.state_dict()["pos_embed"], states[0]["pos_embed"])
    part = next(parted.glob("model-00001*"))
    part.rename(tmp_path / part.name)
    with pytest.raises(InputError, match=f"no weights file .*{part.name}"):
        backbones.create(f"local-dir:{parted}", SIDE)
    for table in ({}, {"weight_map": {}}, {"weight_map": {"a": f"../{part.name}"}}):
        index.write_text(json.dumps(table))
        with pytest.raises(InputError, match="lists no files of weights beside it"):
            backbones.create(f"local-dir:{parted}", SIDE)


def test_all_parts_are_fetched_from_a_repository(hub):
    core = drawn(vit())
    config = json.dumps(timm_config())
    (hub.folder / "config.json").write_text(config)
    names, half = sorted(core), len(core) // 2
    parts = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for part, held in parts.items():
        save_file({name: core[name] for name in held}, hub.folder / part)
    table = {name: part for part, held in parts.items() for name in held}
    index = hub.folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    model = backbones.create("hub:me/parted", SIDE)
    assert hub.asked[1:] == ["model.safetensors.index.json", "a.safetensors", "b.safetensors"]
    assert torch.equal(model.pos_embed, core["pos_embed"])


# --- open_clip ---


def open_clip_config(**vision):
    told = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    model = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": {"width": 8}}
    return {"model_cfg": model, "preprocess_cfg": told}


def test_a_folder_of_open_clip_names_its_network_and_images(tmp_path, recwarn):
    size = {"width": 32, "layers": 2, "head_width": 16, "patch_size": 8, "image_size": SIDE}
    core = drawn(vit() | {"norm_pre.weight": (32,), "norm_pre.bias": (32,)})
    del core["patch_embed.proj.bias"]
    file, _ = openai_clip(core)
    save_file(file, tmp_path / "open_clip_model.safetensors")
    config = open_clip_config(**size)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    spec = f"local-dir:{tmp_path}"
    model = backbones.create(spec, SIDE)
    assert torch.equal(model.blocks[1].mlp.fc2.weight, core["blocks.1.mlp.fc2.weight"])
    told = backbones.preprocessing(spec)
    assert (told["mean"], told["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert told["timm_name"] == "vit_base_patch16_clip_224"
    assert backbones.resolve(spec).default_size == SIDE
    config["model_cfg"]["quick_gelu"] = True
    del config["preprocess_cfg"]
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    told = backbones.preprocessing(spec)
    assert told["timm_name"] == "vit_base_patch16_clip_quickgelu_224"
    assert told["mean"] == [0.48145466, 0.4578275, 0.40821073]  # what open_clip takes then
    del config["model_cfg"]["vision_cfg"]["width"]
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"open_clip_config.json of .* lacks or misstates 'width'"):
        backbones.resolve(spec)


def test_a_repository_of_open_clip_with_a_tower_of_timm(hub):
    config = open_clip_config(timm_model_name="vit_tiny_patch16_224", timm_pool="")
    (hub.folder / "open_clip_config.json").write_text(json.dumps(config))
    (hub.folder / "open_clip_pytorch_model.bin").write_bytes(b"")
    found = backbones.resolve("hub:me/biomed")
    assert (found.timm_name, found.default_size) == ("vit_tiny_patch16_224", 224)
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    (hub.folder / "open_clip_config.json").unlink()
    with pytest.raises(InputError, match=r"hub:me/none has no config\.json"):
        backbones.resolve("hub:me/none")


def test_a_file_of_open_clip_has_the_mean_and_std_beside_it(tmp_path):
    file, _ = open_clip(drawn(vit()))
    save_file(file, tmp_path / "open_clip_model.safetensors")
    save_file(file, tmp_path / "mine.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(open_clip_config()))

    def mean(name, more=""):
        spec = f"file:{tmp_path / name}@vit_base_patch16_224({TINY}{more})"
        return backbones.preprocessing(spec)["mean"]

    assert mean("open_clip_model.safetensors") == [0.1, 0.2, 0.3]
    assert mean("open_clip_model.safetensors", ",mean=0.7") == [0.7] * 3
    assert mean("mine.safetensors") == [0.5] * 3  # of another origin: what timm says of the network
    (tmp_path / "open_clip_config.json").write_text('{"preprocess_cfg": {"mean": 1}}')
    with pytest.raises(InputError, match="misstates mean or std"):
        mean("open_clip_model.safetensors")


# --- arguments, refusals, configs ---


def test_arguments_of_the_network_and_of_its_images_are_kept_apart(tmp_path):
    path = written(tmp_path, drawn(vit(scale=True)))
    spec = f"file:{path}@vit_base_patch16_224({TINY},init_values=1e-5,mean=.5+.4+.3,std=.25)"
    told = backbones.preprocessing(spec)
    assert (told["mean"], told["std"]) == ([0.5, 0.4, 0.3], [0.25] * 3)
    assert told["timm_arguments"]["init_values"] == 1e-5
    name = backbones.resolve(spec).name
    assert name.startswith("file:look_alike@vit_base_patch16_224(embed_dim=32,")
    assert str(tmp_path) not in name
    other = f"file:{path}@vit_base_patch16_224({TINY},init_values=1e-5,act_layer=SiLU)"
    assert backbones.resolve(other).name != name
    x = torch.rand(1, 3, SIDE, SIDE)
    models = [backbones.create(s, SIDE) for s in (spec, other)]
    assert not torch.allclose(*(m(x) for m in models))
    assert backbones.fingerprint(spec) == backbones.fingerprint(other)  # of the tensors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("init_value=1e-5", "unknown argument of vit_base_patch16_224: 'init_value'; did you mean"),
        ("mean=.5+.5", "mean='0.5[+]0.5' must be one number or three, as 0.5[+]0.4[+]0.3"),
        ("std=0", "std=0 must be one number above 0 or three"),
        ("std=nan", "nan is no number"),
        ("mlp_layer=Sequential", "unknown mlp_layer 'Sequential'; .*SwiGLUPacked"),
        ("act_layer=Silly", "act_layer='Silly' is no layer that timm knows"),
        ("num_classes=3", "num_classes=3 cannot be set"),
        ("depth=two", "cannot be made with"),
        ("1e-5", "without a name"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    path = written(tmp_path, drawn(vit()))
    with pytest.raises(InputError, match=message):
        backbones.create(f"file:{path}@vit_base_patch16_224({arguments})", 32)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            vit(scale=True),
            r"4 are unexpected \('blocks.0.ls1.gamma'.*; try @NAME\(init_values=1e-5",
        ),
        (vit(registers=4), r"1 are unexpected \('reg_token'\); try @NAME\(reg_tokens=NUMBER\)"),
        (TAILED, r"2 tensors are missing \('norm.bias'.*try @NAME\(global_pool=avg\)"),
        (vit(hidden=64), r"blocks.0.mlp.fc1.bias is \(64,\), not \(128,\)"),
        ({n: s for n, s in vit().items() if n != "norm.bias"}, r"1 tensors are missing \('norm.b"),
    ],
)
def test_what_does_not_fit_is_named(shapes, message, tmp_path):
    path = written(tmp_path, drawn(shapes))
    with pytest.raises(InputError, match=message) as error:
        backbones.create(f"file:{path}@vit_base_patch16_224({TINY})", SIDE)
    assert "\n" not in str(error.value)


def test_a_fine_tuned_checkpoint_loads_with_its_pooling(tmp_path):
    path = written(tmp_path, drawn(TAILED))
    spec = f"file:{path}@vit_base_patch16_224({TINY},global_pool=avg)"
    model = backbones.create(spec, SIDE)
    assert torch.equal(model.fc_norm.weight, drawn(TAILED)["fc_norm.weight"])
    assert backbones.left_out(spec) == {"head": 1}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            under("left.", drawn(vit())) | under("right.", drawn(vit())),
            "twice, under 'left.' and 'right.'; save one of them alone",
        ),
        (
            under("backbone.", drawn(vit())) | {"adapter.weight": torch.zeros(3)},
            "under 'backbone.' beside 1 tensors of unknown use, such as 'adapter.weight'",
        ),
        ({"gain": torch.zeros(3)}, "holds no tensor of the network, such as .*; it holds 'gain'"),
    ],
)
def test_a_checkpoint_that_is_not_clear_is_refused(file, message, tmp_path):
    path = written(tmp_path, file)
    with pytest.raises(InputError, match=message):
        backbones.create(f"file:{path}@vit_base_patch16_224({TINY})", SIDE)


def test_a_position_table_of_another_size_is_resized(tmp_path):
    path = written(tmp_path, drawn(vit(tokens=65)))
    model = backbones.create(f"file:{path}@vit_base_patch16_224({TINY})", SIDE)
    assert model.pos_embed.shape == (1, 17, 32)


def timm_config(**model_args):
    told = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, SIDE, SIDE]}
    tiny = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}
    return {
        "architecture": "vit_base_patch16_224",
        "num_classes": 0,
        "model_args": {"img_size": SIDE, "num_classes": 0, **tiny, **model_args},
        "pretrained_cfg": told,
    }


class Hub:
    """A repository that counts what it is asked for; without a network it raises."""

    def __init__(self, folder):
        self.folder, self.asked, self.online = folder, [], True

    def download(self, repository, name):
        self.asked.append(name)
        if not self.online:
            raise OSError("no network\nat all")
        return str(self.folder / name)

    def list_repo_files(self, repository):
        if not self.online:
            raise OSError("no network\nat all")
        return [path.name for path in self.folder.iterdir()]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub

    folder = tmp_path / "repository"
    folder.mkdir()
    found = Hub(folder)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", found.download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: found)
    return found


def test_a_repository_says_what_it_holds_and_is_asked_once(hub):
    config = timm_config(init_values=1e-5, global_pool="", dynamic_img_size=True)
    (hub.folder / "config.json").write_text(json.dumps(config))
    core = drawn(vit(scale=True))
    torch.save(core | {"head.weight": torch.zeros(3, 32)}, hub.folder / "pytorch_model.bin")
    with pytest.warns(UserWarning, match=r"left out: head \(1\)"):
        model = backbones.create("hub:me/mine", SIDE)
    assert hub.asked == ["config.json", "pytorch_model.bin"]
    assert torch.equal(model.blocks[1].ls2.gamma, core["blocks.1.ls2.gamma"])
    assert model(torch.rand(1, 3, SIDE, SIDE)).shape == (1, 32)
    hub.online = False  # a node without a network, which shares the cache
    again = backbones.create("hub:me/mine", SIDE)
    assert torch.equal(again.pos_embed, model.pos_embed)
    told = backbones.preprocessing("hub:me/mine")
    assert (told["mean"], told["timm_name"]) == ([0.1, 0.2, 0.3], "vit_base_patch16_224")
    assert told["timm_arguments"]["init_values"] == 1e-5
    assert backbones.left_out("hub:me/mine") == {"head": 1}
    assert hub.asked == ["config.json", "pytorch_model.bin"]
    assert backbones.resolve("hub:me/mine").name == "hub:me/mine"


def test_the_network_that_a_config_names_is_part_of_its_identity(tmp_path):
    found = []
    for i, act in enumerate(("gelu", "relu")):
        folder = tmp_path / f"f{i}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(timm_config(act_layer=act)))
        save_file(drawn(vit()), folder / "model.safetensors")
        found.append(backbones.fingerprint(f"local-dir:{folder}"))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("uni", ["accept its terms", "huggingface.co/MahmoodLab/UNI ", "file:PATH@uni"]),
        ("retfound_mae_oct", ["RETFound_mae_natureOCT.pth", "file:PATH@retfound_mae_oct"]),
        ("rad_dino", ["model.safetensors of microsoft/rad-dino", "file:PATH@rad_dino"]),
        ("hub:me/mine", ["config.json of me/mine", "local-dir:PATH"]),
    ],
)
def test_without_a_hub_one_sentence_says_what_to_fetch(name, words, hub):
    hub.online = False
    with pytest.raises(InputError, match="no network at all") as error:
        backbones.fingerprint(name)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_a_repository_that_has_a_row_is_that_row():
    assert backbones.resolve("hub:paige-ai/Virchow2").kwargs["mlp_layer"] == "SwiGLUPacked"
    assert backbones.resolve("hub:paige-ai/Virchow2").name == "virchow2"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no config.json; write file:PATH@NAME"),
        ({"config.json": "{"}, "config.json is not a whole JSON file"),
        ({"config.json": "[]"}, "holds no object"),
        ({"config.json": json.dumps(timm_config())}, "holds none of model.safetensors"),
        ({"config.json": "{}", "model.safetensors": ""}, "neither of timm"),
        ({"config.json": '{"architecture": "x"}', "model.safetensors": ""}, "lacks or misstates"),
        (
            {
                "config.json": json.dumps(
                    {**timm_config(), "architecture": "vit_bose_patch16_224"}
                ),
                "model.safetensors": "",
            },
            "unknown timm model 'vit_bose_patch16_224'",
        ),
        (
            {"config.json": '{"model_type": "bert"}', "model.safetensors": ""},
            "kind 'bert' are not read; known: vit,",
        ),
        (
            {"config.json": '{"model_type": "vit"}', "model.safetensors": ""},
            "no preprocessor_config.json",
        ),
        (
            {
                "config.json": json.dumps(
                    {"model_type": "dinov3_vit", "use_gated_mlp": True, "hidden_act": "gelu"}
                    | {"layerscale_value": 1.0, "rope_theta": 100.0}
                ),
                "preprocessor_config.json": '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}',
                "model.safetensors": "",
            },
            "misstates hidden_act: 'gelu'",
        ),
    ],
)
def test_folders_that_cannot_be_used(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        backbones.resolve(f"local-dir:{tmp_path}")


def test_a_folder_or_repository_must_be_one(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        backbones.resolve(f"local-dir:{tmp_path / 'absent'}")
    with pytest.raises(InputError, match="write hub:OWNER/NAME"):
        backbones.resolve("hub:mine")


def test_every_repository_is_documented_and_built():
    rows = [backbones.backbones[name] for name in backbones.backbones]
    medical = [entry for entry in rows if entry.repository]
    assert len(medical) >= 13
    for entry in medical:
        assert entry.mean, entry.name
        assert entry.std, entry.name
        assert entry.citation.doi or entry.citation.arxiv or entry.name == "h_optimus_0"
        network = networks.skeleton(entry)  # its arguments are known to the network
        assert network.num_features >= 256
        assert entry.default_size % networks.stride(entry) == 0
    sizes = {e.name: sum(p.numel() for p in networks.skeleton(e).parameters()) for e in medical}
    # as their papers and cards say, in millions
    published = {"uni": 303, "uni2_h": 681, "virchow2": 631, "h_optimus_0": 1135, "gigapath": 1135}
    for name, millions in published.items():
        assert math.isclose(sizes[name] / 1e6, millions, rel_tol=0.01), (name, sizes[name])


def test_a_cell_on_a_checkpoint_says_what_it_left_out(tmp_path):
    file, ignored = mae(drawn(vit()))
    spec = f"file:{written(tmp_path, file)}@vit_base_patch16_224({TINY},mean=0.5,std=0.5)"
    command = ["run", "--methods", "linear", "--backbones", spec, "--steps", "1"]
    command += ["--image-size", str(SIDE), "--fractions", "0.1", "--runs", str(tmp_path / "runs")]
    with pytest.warns(UserWarning, match="left out"):
        assert main(command) == 0
    (path,) = (tmp_path / "runs").rglob("record.json")
    record = json.loads(path.read_text())
    told = record["provenance"]["preprocessing"]
    assert told["left_out"] == ignored
    assert told["timm_arguments"]["patch_size"] == 8
    assert record["cell"]["normalize"] == "0.5,0.5,0.5/0.5,0.5,0.5"
    assert str(tmp_path) not in json.dumps(record["cell"])


def test_weights_check_says_what_a_file_holds(tmp_path, capsys):
    path = written(tmp_path, mae(drawn(vit()))[0])
    # the network is made for its usual size, whatever the size of the table of positions
    spec = f"file:{path}@vit_base_patch16_224({TINY},mean=0.5,std=0.25)"
    with pytest.warns(UserWarning, match="left out"):
        assert main(["weights", "check", spec]) == 0
    line = capsys.readouterr().out
    assert "whole, 0.1 M parameters of vit_base_patch16_224; fingerprint" in line
    assert "images of mean 0.5 0.5 0.5, std 0.25 0.25 0.25; family vit; left out: " in line
    assert "decoder_embed (2)" in line
    assert main(["weights", "check", f"file:{path}@vit_base_patch16_224"]) == 2
    assert "do not fit" in capsys.readouterr().err
