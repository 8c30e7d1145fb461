import dataclasses
import itertools
import json
import random
import typing

import pytest
import timm
import tiny_backbones
import torch
from torch import nn

import methods
from benchmark import auditing
from benchmark.__main__ import main
from benchmark.core.numbers import Number
from benchmark.core.registry import InputError
from methods import build, seams

torch.set_num_threads(1)
VARIANTS = [
    "lora(targets=qkv)",
    "lora(targets=fc1+fc2)",
    "lora(rank_stabilized=True,alpha=4.0,targets=q+v+proj)",
    "dvpt(merge=rows)",
    "dvpt(start=fast_gate)",
    "dvpt(start=up)",
    "adaptformer(reads_from=residual)",
    "dvpt(share=2)",
    "dvpt(attention=False)",
]
# tiny sizes keep deltas small beside backbones of 32 channels
SPECS = [*methods.methods, *VARIANTS]


def maker(family):
    return lambda: tiny_backbones.make(family)


@pytest.mark.parametrize("family", tiny_backbones.FAMILIES)
@pytest.mark.parametrize("spec", SPECS)
def test_contract(spec, family):
    verdict = auditing.examine(spec, family)
    assert verdict.state != "fail", verdict.reasons
    if verdict.state == "n/a":
        assert len(verdict.reason) > 10
        with pytest.raises(InputError, match="cannot be attached"):
            build(spec).attach(tiny_backbones.make(family))


@pytest.mark.parametrize("spec", SPECS)
def test_every_method_works_somewhere(spec):
    assert any(
        build(spec).unsupported(tiny_backbones.make(f)) is None for f in tiny_backbones.FAMILIES
    )


@pytest.mark.parametrize("family", ["vit", "swin", "resnet"])
def test_no_two_methods_are_the_same_function(family):
    outputs = {}
    for spec in SPECS:
        if build(spec).unsupported(tiny_backbones.make(family)) is None:
            body, _ = auditing.trained(build(spec), maker(family))
            with torch.no_grad():
                outputs[spec] = body(auditing.images())
    del outputs["knn"]  # a linear probe up to the head
    for (a, x), (b, y) in itertools.combinations(outputs.items(), 2):
        same = x.shape == y.shape and torch.allclose(x, y, atol=1e-6)
        assert not same, f"{a} and {b} are the same function"


# Exact counts on ViT-B/16 (and Swin-B), head excluded: stored by, or derived from, published code.
COUNTS = {
    "full": 85_798_656,
    "linear": 0,
    "knn": 0,
    "bitfit": 102_912,
    "norm": 38_400,
    "ssf": 205_824,
    "vpt_shallow(prompts=5)": 3_840,
    "vpt_shallow(prompts=50)": 38_400,
    "vpt_deep(prompts=10)": 92_160,
    "vpt_deep(prompts=100)": 921_600,
    "lora(rank=1)": 36_864,
    "lora(rank=8)": 294_912,
    "lora(rank=8,targets=qkv)": 294_912,
    "lora(rank=8,targets=q+k+v+proj)": 589_824,
    "lora(rank=8,targets=qkv+proj+fc1+fc2)": 1_179_648,
    "adaptformer(bottleneck=4)": 82_992,
    "adaptformer(bottleneck=64)": 1_189_632,
    "pfeiffer(bottleneck=64)": 1_189_632,
    "houlsby(bottleneck=4)": 165_984,
    "houlsby(bottleneck=32)": 1_198_848,
    "partial(blocks=1)": 7_087_872 + 2 * 768,  # with the final norm, as VPT's
    "partial(blocks=1,norm=False)": 7_087_872,
    "diffit": 140_544,
    "convpass": 327_552,
    "repadapter": 239_808,
    "fact_tt(rank=8)": 21_504,
    "fact_tt(rank=32)": 196_608,
    "fact_tk(rank=16)": 30_976,
    "fact_tk(rank=32)": 86_528,
    "dvpt(merge=rows)": 416_508,
    "dvpt(merge=rows,share=3)": 164_436,
    "dvpt": 390_108,
    "dvpt(share=3)": 130_036,
    "dvpt_released": 202_836,
    "vera": 24_576,  # the paper's 24.6 K
    "fourierft(number=3000)": 72_000,  # the paper's 72 K
    "ia3": 12 * (2 * 768 + 3072),
    "loha": 294_912,
    "lokr": 24 * (24 * 24 + 8 * (32 + 32)),
    "pissa": 294_912,
    "lora_plus": 294_912,
    "lora_fa": 147_456,
    "shira": 294_912,
    "hra": 147_456,
    "oft": 24 * 768 * 31 // 2,
    "boft": 24 * 2 * 768 * 7 // 2,
    "randlora": 24 * 24 * (32 + 768),
    "arc": 2 * 768 * 50 + 24 * (50 + 768),
    "adapter_plus": 12 * (2 * 768 * 8 + 8 + 2 * 768),
    "compacter": 64 + 24 * 3 * (768 + 24),
    "mona": 24 * (4 * 768 + 2 * 768 * 64 + 64 + 768 + (9 + 25 + 49 + 3) * 64 + 64 * 64 + 64),
    "glora": 12 * (29_952 + 14_592 + 37_632 + 35_328),
    "prefix": 184_320,
    "e2vpt": 92_160 + 92_160,
    "noah": 46_080 + 147_456 + 156_768,
    "mam": 184_320 + 1_189_632,
    "cvpt": 92_160,
    "attention": 28_348_416,
    # rows of all linear layers and of the patch embedding, and as many biases
    "gps": 2 * (12 * (2304 + 768 + 3072 + 768) + 768),
    "sct": 111_744,  # the paper's .11 M: 96 of 768 channels
    "vqt(queries=1)": 9_216,
}


def meta(name):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize("spec", COUNTS)
def test_exact_counts_on_vit_b16(spec):
    backbone = meta("vit_base_patch16_224")
    assert build(spec).count(backbone) == COUNTS[spec]
    body = build(spec).attach(backbone)
    assert sum(p.numel() for p in methods.trainable(body).values()) == COUNTS[spec]


def test_exact_counts_elsewhere():
    swin, resnet = meta("swin_base_patch4_window7_224"), meta("resnet50")
    assert build("dvpt(prompts=10)").count(swin) == 498_616
    assert build("dvpt_released").count(swin) == 94_170 + 9 + 120_320
    assert build("norm").count(resnet) == 53_120


def test_fused_and_separate_lora_have_one_count_and_two_functions():
    specs = ("lora(rank=2,targets=qkv)", "lora(rank=2,targets=q+v)")
    bodies = [auditing.trained(build(s), maker("vit"))[0] for s in specs]
    counts = [build(s).count(tiny_backbones.make("vit")) for s in specs]
    assert counts[0] == counts[1]
    keys = [body.blocks[0].attn.qkv.weight - body.blocks[0].attn.qkv.base_weight for body in bodies]
    assert keys[0][32:64].any()  # the fused update reaches the key rows, the separate one does not
    assert not keys[1][32:64].any()


@pytest.mark.parametrize("family", ["eva02", "beit", "swinv2"])
def test_models_that_read_the_weight_do_not_bypass_lora(family):
    body = auditing.attached(build("lora(rank=2)"), maker(family))
    with torch.no_grad():
        before = body(auditing.images())
        for module in body.modules():
            for factor in getattr(module, "lora_b", []):
                factor.add_(1.0)
        assert not torch.allclose(before, body(auditing.images()))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lorra", "did you mean 'lora'"),
        ("lora(rnk=2)", "did you mean 'rank'"),
        ("lora(rank=0)", "lora: rank 0 must be a whole number from 1 to 1000000"),
        ("lora(rank=1000000000)", "rank 1000000000 must be a whole number from 1 to"),
        ("dvpt_released(prompts=0)", "prompts 0 must be a whole number"),
        ("fact_tt(dropout=1.0)", "dropout 1.0 must be a number of 0 or more and below 1"),
        ("sct(share=0.0)", "share 0.0 must be a number between 0 and 1"),
        ("lst(temperature=0.0)", "temperature 0.0 must be a number from 1e-30"),
        ("lora(targets=qq)", "unknown LoRA target 'qq'"),
        ("lora(targets=q+q)", "names q twice"),
        ("dora(targets=qkv+v)", "names v twice"),
        ("lora(alpha=0)", "alpha 0 must be a number from 1e-30"),
        ("adaptformer(scale=1e-50)", "scale 1e-50 must be a number from"),
        ("LoRA", "did you mean 'lora'"),
        ("dvpt(merge=add)", "unknown merge of dvpt 'add'"),
        ("no_such_module:Thing", "cannot load method"),
        ("pathlib:Path", "is not a subclass"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(InputError, match=message):
        build(spec)


@dataclasses.dataclass(frozen=True)
class Ranged(methods.Method):
    """A method of somebody else: the types of its fields say what they may hold."""

    paper = "none"
    width: methods.Count = 4
    alpha: float = 0.0  # not a factor of anything

    def edit(self, backbone):
        pass

    def count(self, backbone):
        return 0


def test_ranges_of_fields_hold_however_a_method_is_made():
    assert Ranged().alpha == 0
    for value in (0, 1.5, True, "3"):
        with pytest.raises(InputError, match=f"Ranged: width {value!r} must be a whole number"):
            Ranged(width=value)


@pytest.mark.parametrize("name", methods.methods)
def test_every_number_of_a_method_declares_its_range(name):
    hints = typing.get_type_hints(type(build(name)), include_extras=True)
    for field in dataclasses.fields(build(name)):
        kinds = (hints[field.name], *typing.get_args(hints[field.name]))
        assert not {int, float} & set(kinds) or any(map(_is_ranged, kinds)), field.name


def _is_ranged(kind):
    return any(isinstance(note, Number) for note in getattr(kind, "__metadata__", ()))


def test_a_rank_above_the_width_is_refused():
    with pytest.raises(InputError, match="rank=64 is above the width 32"):
        build("lora(rank=64)").attach(tiny_backbones.make("vit"))


def test_a_delta_of_another_method_or_size_is_refused_and_nothing_is_loaded():
    body = auditing.attached(build("lora(rank=2)"), maker("vit"))
    before = {n: t.clone() for n, t in body.state_dict().items()}
    other, _ = auditing.trained(build("adaptformer"), maker("vit"))
    with pytest.raises(InputError, match="of another method or backbone"):
        methods.load_delta(body, methods.delta(other))
    wider, _ = auditing.trained(build("lora(rank=4)"), maker("vit"))
    with pytest.raises(InputError, match="has shape"):
        methods.load_delta(body, methods.delta(wider))
    assert all(torch.equal(before[n], t) for n, t in body.state_dict().items())


# Deliberately broken methods, one for each fault found in published code: each is caught.
@dataclasses.dataclass(frozen=True)
class Broken(methods.Method):
    paper = "none"
    name = "broken"

    def count(self, backbone):
        return sum(2 * 4 * 32 + 4 + 32 for _ in backbone.blocks)

    def adapter(self, up_std, down_std):
        adapter = nn.Sequential(nn.Linear(32, 4), nn.GELU(), nn.Linear(4, 32))
        for layer, std in ((adapter[0], down_std), (adapter[2], up_std)):
            nn.init.normal_(layer.weight, std=std) if std else nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        return adapter

    def edit(self, backbone):
        for block in backbone.blocks:
            seams.extend(block.mlp, seams.Serial, adapter=self.adapter(*self.start))


class BiasOnly(Broken):  # both projections zero: nothing but the last bias ever learns
    start = (0.0, 0.0)


class Perturbed(Broken):  # says identity, but both projections are random
    start = (0.5, 0.5)


class Dead(Broken):  # the adapter is computed and dropped
    start = (0.0, 0.5)

    def edit(self, backbone):
        for block in backbone.blocks:
            block.adapter = self.adapter(*self.start)


class Moving(Broken):  # frozen, but batch norm statistics drift
    start = (0.0, 0.5)
    live_batch_norm = False

    def count(self, backbone):
        return backbone.conv1.weight.numel()

    def edit(self, backbone):
        backbone.conv1.weight.requires_grad_(True)
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                seams.extend(module, AlwaysTraining)


@dataclasses.dataclass(frozen=True)
class Copied(type(build("lora"))):  # another name, the same function
    pass


class Left(Broken):  # a tensor that is no buffer stays on the CPU when the model goes to a GPU
    start = (0.0, 0.5)

    def adapter(self, up_std, down_std):
        adapter = super().adapter(up_std, down_std)
        scale = torch.ones(4)
        adapter[1].register_forward_hook(lambda module, inputs, output: output * scale)
        return adapter


class Asleep(Perturbed):  # says that it reads the image, and does not
    start = (0.0, 0.5)

    def static(self):
        return type("Twin", (Asleep,), {"name": "twin"})()


class Serial(Broken):  # a sound adapter, whose MLP has one `Effect` more
    start = (0.0, 0.5)

    def edit(self, backbone):
        super().edit(backbone)
        for block in backbone.blocks:
            seams.extend(block.mlp, self.Effect)


class Undrawn(Serial):  # a random vector that is neither trained nor stored
    class Effect:
        def forward(self, x):
            return super().forward(x) + self.noise * self.adapter(x)

    def edit(self, backbone):
        super().edit(backbone)
        for block in backbone.blocks:
            block.mlp.register_buffer("noise", torch.rand(32), persistent=False)


class Unseeded(Serial):  # starts as a generator says that no seed of torch reaches
    class Effect:
        pass

    def adapter(self, up_std, down_std):
        adapter = super().adapter(up_std, down_std)
        adapter[0].weight.data.mul_(random.random())
        return adapter


class Noisy(Serial):  # adds noise in evaluation too
    class Effect:
        def forward(self, x):
            out = super().forward(x)
            return out + 0.1 * torch.randn_like(out) * self.adapter[2].weight.abs().sum()


class Neighbourly(Serial):  # reads the other images of the batch
    class Effect:
        def forward(self, x):
            return super().forward(x) + self.adapter(x - x.mean(0))


class Late(Serial):  # makes a parameter when it is first called
    class Effect:
        def forward(self, x):
            if not hasattr(self, "gain"):
                self.gain = nn.Parameter(torch.ones(32))
            return super().forward(x) * self.gain


class InPlace(Serial):  # changes a frozen tensor each time it is called in training
    class Effect:
        def forward(self, x):
            if self.training:
                self.fc1.weight.data.mul_(1.01)
            return super().forward(x)


class AlwaysTraining:
    def forward(self, x):
        nn.Module.train(self, True)
        return super().forward(x)


@pytest.mark.parametrize(
    ("cls", "family", "check", "message"),
    [
        (BiasOnly, "vit", "alive", "no gradient in 3 steps"),
        (
            Perturbed,
            "vit",
            "identity",
            "attaching changes the outputs; let what is new",
        ),
        (Left, "vit", "device", "a tensor stays on the CPU; register it as a parameter or buffer"),
        (Dead, "vit", "alive", "no gradient"),
        (Dead, "vit", "pyramid", "does not change"),
        (Moving, "resnet", "frozen", "frozen tensors moved"),
        (Asleep, "vit", "dynamic", "computes what"),
        (Undrawn, "vit", "delta", "the reloaded model differs: what edit draws"),
        (Unseeded, "vit", "repeats", "one seed of torch gives two starts"),
        (Noisy, "vit", "repeats", "equal images have other outputs each time"),
        (Neighbourly, "vit", "repeats", "an image beside others differs by"),
        (Late, "vit", "alive", "made after edit, so that no optimiser trains it"),
        (InPlace, "vit", "frozen", "frozen tensors moved"),
    ],
)
def test_broken_methods_are_caught(cls, family, check, message):
    with pytest.raises(AssertionError, match=message):
        auditing.CHECKS[check](cls(), maker(family))


class Idle(Broken):  # announces values and trains none
    def edit(self, backbone):
        pass


def test_a_method_that_trains_nothing_is_refused():
    with pytest.raises(InputError, match="trains 0 values, though its count says 584"):
        Idle().attach(tiny_backbones.make("vit"))


def test_a_method_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[peft_medical_benchmark.methods]\nother_lora = other_methods:OtherLora\n"
    )
    (tmp_path / "other_methods.py").write_text(
        "from dataclasses import dataclass\nfrom methods.lora import Lora\n\n"
        "@dataclass(frozen=True)\nclass OtherLora(Lora):\n    rank: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert str(build("other_lora")).startswith("other_lora(rank=3,")
    assert build(str(build("other_lora"))) == build("other_lora")


def test_a_copy_of_another_method_is_caught():
    specs = ["lora", f"{__name__}:Copied", "lora(targets=qkv)"]
    verdicts = auditing.twins(auditing.examine(spec, "vit") for spec in specs)
    assert [verdict.state for verdict in verdicts] == ["pass", "fail", "pass"]
    assert verdicts[1].reasons == ["distinct: after the same steps its outputs are those of lora"]


def test_the_audit_command_names_the_failed_check_and_exits_with_1(tmp_path, capsys):
    command = ["audit", "--methods", f"{__name__}:Perturbed,linear", "--backbones", "vit"]
    assert main([*command, "--jobs", "1", "--json", str(tmp_path / "a.json")]) == 1
    assert "FAIL 1" in capsys.readouterr().out
    verdicts = json.loads((tmp_path / "a.json").read_text())["verdicts"]
    assert [v["state"] for v in verdicts] == ["fail", "pass"]
    assert verdicts[0]["faults"][0]["check"] == "identity"
    assert verdicts[1]["faults"] == []


class Miscounted(Dead):  # a wrong count beside other faults
    def count(self, backbone):
        return 7


class Unattachable(Broken):
    def edit(self, backbone):
        backbone.no_such_part.requires_grad_(True)


def test_a_wrong_count_hides_no_other_fault():
    checks = [f.check for f in auditing.examine(f"{__name__}:Miscounted", "vit").faults]
    assert checks[0] == "count"
    assert {"alive", "pyramid", "bfloat16"} < set(checks)


class Unasked(Broken):  # asks a network for what others lack
    def unsupported(self, backbone):
        return backbone.blocks[0].attn.qkv and None


def test_a_method_that_fails_to_say_whether_it_applies_is_at_fault():
    (fault,) = auditing.examine(f"{__name__}:Unasked", "resnet").faults
    assert str(fault) == "unsupported: 'ResNet' object has no attribute 'blocks'"


def test_a_method_that_cannot_be_attached_is_told_once():
    (fault,) = auditing.examine(f"{__name__}:Unattachable", "vit").faults
    assert str(fault) == "attach: 'VisionTransformer' object has no attribute 'no_such_part'"


def test_the_audit_tells_all_faults_of_a_method_each_once():
    verdict = auditing.examine(f"{__name__}:Dead", "vit")
    assert [fault.check for fault in verdict.faults] == ["alive", "pyramid", "bfloat16"]


def test_a_third_party_method_on_the_command_line_of_the_audit_must_exist(capsys):
    assert main(["audit", "--methods", "no_such_module:Thing"]) == 2
    assert main(["audit", "--methods", "lora", "--backbones", "vitt"]) == 2
    assert "did you mean 'vit'" in capsys.readouterr().err
