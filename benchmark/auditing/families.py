"""Small untrained models of every family, for the audit and for tests: no weights are needed."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from benchmark.backbones.zoo import TINY

SIZE = 64
_VIT: dict[str, Any] = {**TINY["vit"], "patch_size": 16, "img_size": SIZE}
# without dropped blocks, which would hide whether a method lowers the loss
_SWIN: dict[str, Any] = {**TINY["swin"], "img_size": SIZE, "drop_path_rate": 0.0}
# windows of 3 x 3 of the 4 x 4 tokens, which are padded, then attention between all
_SAM: dict[str, Any] = {
    **{key: TINY["vit"][key] for key in ("embed_dim", "depth", "num_heads")},
    "img_size": SIZE,
    "window_size": 3,
    "global_attn_indexes": (1,),
    "neck_chans": 16,
}
# the encoder of SAM 2: a block in windows, one that pools and widens, one that sees all tokens
_HIERA: dict[str, Any] = {
    "embed_dim": 16,
    "stages": (1, 2),
    "window_spec": (8, 4),
    "q_pool": 1,
    "global_att_blocks": (2,),
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", _VIT),
    "dinov2": ("vit_small_patch14_dinov2", _VIT),
    "dinov3": ("vit_small_patch16_dinov3", _VIT),
    "eva02": ("eva02_tiny_patch14_224", _VIT),
    "beit": ("beit_base_patch16_224", _VIT),
    "swin": ("swin_tiny_patch4_window7_224", _SWIN),
    "swinv2": ("swinv2_tiny_window8_256", _SWIN),
    "convnext": ("convnext_tiny", TINY["convnext"]),
    "pvt": ("pvt_v2_b0", TINY["pvt"]),
    "resnet": ("resnet18", TINY["resnet"]),
    "sam": ("samvit_base_patch16", _SAM),
    "hiera": ("sam2_hiera_tiny", _HIERA),
}
SHALLOW: dict[str, dict[str, Any]] = {
    "vit": {"depth": 1},
    "swin": {"depths": (1,), "num_heads": (2,)},
}


def make(family: str, seed: int = 0, *, shallow: bool = False) -> nn.Module:
    """Return a seeded model of a family in evaluation mode, tensors that timm zeroes drawn anew.

    SwinV2 starts with norms at zero, which would hide dead parameters behind them. `shallow` is
    for compilation, whose time grows with the depth.
    """
    name, kwargs = FAMILIES[family]
    if shallow:
        kwargs = {**kwargs, **SHALLOW[family]}
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=0, **kwargs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any() or parameter.abs().max() < 1e-3:
                parameter.normal_(std=0.5)
    return model
