"""Which networks are of which family, and what methods do where none is known."""

import pytest
import timm
import tiny_backbones
import torch

import methods
from benchmark.auditing import checks
from benchmark.core.registry import InputError
from methods import build, families

KNOWN = {
    "vit_tiny_patch16_224": "vit",
    "vit_small_patch16_dinov3": "vit",
    "eva02_tiny_patch14_224": "vit",
    "naflexvit_base_patch16_gap": "vit",
    "deit_tiny_distilled_patch16_224": "vit",
    "beit_base_patch16_224": "beit",
    "swin_tiny_patch4_window7_224": "swin",
    "swinv2_tiny_window8_256": "swinv2",
    "convnextv2_atto": "convnext",
    "pvt_v2_b0": "pvt",
    "samvit_base_patch16": "sam",
    "sam2_hiera_tiny": "hiera",
    "hiera_tiny_224": "hiera",
    "seresnext26t_32x4d": "resnet",
}
# each has attributes of the same names as a known family, and computes something else with them
UNKNOWN = ["swinv2_cr_tiny_224", "edgenext_xx_small", "cs3darknet_s", "gcvit_xxtiny", "levit_128s"]
UNKNOWN += ["mvitv2_tiny", "eca_vovnet39b", "hrnet_w18_small", "vit_relpos_small_patch16_224"]
UNKNOWN += ["efficientnet_b0", "tiny_vit_5m_224", "caformer_s18"]


def meta(name):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize("name", KNOWN)
def test_networks_are_of_their_family(name):
    assert families.family(meta(name)).name == KNOWN[name]


@pytest.mark.parametrize("name", UNKNOWN)
def test_networks_that_look_alike_are_of_no_family(name):
    network = meta(name)
    assert families.find(network) is None
    assert families.blocks(network) == []
    with pytest.raises(InputError, match=f"the family of {type(network).__name__} is unknown"):
        families.family(network)
    for spec in methods.methods:
        refusal = build(spec).refusal(network)
        if spec in families.ANYWHERE:
            assert refusal is None, spec
        elif refusal:
            assert "is unknown, so that its blocks cannot be found (known: beit, vit," in refusal
            assert "full, linear, knn, bitfit, norm, ssf, gps work on any network" in refusal


def test_a_known_family_gives_the_reason_of_the_method():
    reason = build("vpt_deep").refusal(tiny_backbones.make("convnext"))
    assert reason == build("vpt_deep").unsupported(tiny_backbones.make("convnext"))
    assert "unknown" not in reason


def unrolled():
    """Hiera as published, whose tokens are in the order of its mask units, not of rows."""
    torch.manual_seed(0)
    arguments = {"embed_dim": 16, "stages": (1, 1, 2, 1), "img_size": 64, "num_classes": 0}
    return timm.create_model("hiera_tiny_224", **arguments).eval()


def maps():
    """The encoder of SAM 2 with four stages."""
    arguments = {"embed_dim": 16, "stages": (1, 1, 2, 1), "window_spec": (8, 4, 2, 2)}
    return timm.create_model(
        "sam2_hiera_tiny", num_classes=0, global_att_blocks=(3,), **arguments
    ).eval()


@pytest.mark.parametrize("make", [unrolled, maps])
def test_blocks_of_hiera_are_grouped_by_the_width_they_give_out(make):
    network = make()
    stages = families.stages(network)
    assert [len(stage) for stage in stages] == [1, 1, 2, 1]
    assert [{families.width(block) for block in stage} for stage in stages] == [
        {16},
        {32},
        {64},
        {128},
    ]
    assert [stage[0].norm1.normalized_shape for stage in stages] == [(16,), (16,), (32,), (64,)]
    assert families.widens(network)
    assert [f for f in tiny_backbones.FAMILIES if families.widens(tiny_backbones.make(f))] == [
        "hiera"
    ]


PROMPTED = ["vpt_shallow(prompts=3)", "vpt_deep(prompts=3)", "dvpt(merge=rows,prompts=3)"]
PROMPTED += ["dvpt_released(prompts=3)", "e2vpt(prompts=3)"]


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("spec", PROMPTED)
def test_prompts_and_a_dynamic_image_size_do_not_disturb_each_other(spec, registers):
    """UNI, UNI2-h and Virchow2 publish networks that resize their positions in each pass."""
    bodies = []
    for dynamic in (False, True):
        torch.manual_seed(0)
        arguments = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64}
        network = timm.create_model(
            "vit_tiny_patch16_224",
            num_classes=0,
            reg_tokens=registers,
            no_embed_class=bool(registers),
            dynamic_img_size=dynamic,
            **arguments,
        ).eval()
        torch.manual_seed(1)
        bodies.append(build(spec).attach(network))
    fixed, dynamic = bodies
    with torch.no_grad():
        for body in bodies:  # prompts that start at zero would hide where they stand
            torch.manual_seed(2)
            for parameter in methods.trainable(body).values():
                parameter.normal_()
        x = torch.rand(2, 3, 64, 64)
        assert torch.allclose(fixed(x), dynamic(x), atol=1e-5)
        maps = [b.forward_intermediates(x, intermediates_only=True)[-1] for b in bodies]
        assert torch.allclose(*maps, atol=1e-5)
        assert dynamic(torch.rand(1, 3, 96, 96)).shape == (1, 32)


RUN_ON_HIERA = ["lora(rank=2)", "dvpt(prompts=3)", "adaptformer", "houlsby", "lst", "full"]
RUN_ON_HIERA += ["hf(tuner=LOHA)"]


@pytest.mark.parametrize("spec", RUN_ON_HIERA)
def test_methods_train_on_hiera_as_published(spec):
    if spec.startswith("hf"):
        pytest.importorskip("peft", reason="the extra `test` installs peft")
    for check in (checks.check_count, checks.check_alive, checks.check_pyramid, checks.check_delta):
        check(build(spec), unrolled)


@pytest.mark.parametrize("spec", ["convpass", "mona", "arc", "repadapter", "cvpt"])
def test_methods_that_need_rows_of_tokens_are_refused_on_hiera(spec):
    """A convolution over tokens in another order than rows would compute something, silently."""
    reason = build(spec).refusal(unrolled())
    assert reason is not None
    assert "unknown" not in reason
