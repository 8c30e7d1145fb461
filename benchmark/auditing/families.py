"""Small untrained models of every family, for the audit and for tests: no weights are needed."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

_PLAIN: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
_SWIN: dict[str, Any] = {
    "embed_dim": 16,
    "depths": (1, 2),
    "num_heads": (2, 2),
    "window_size": 4,
    "drop_path_rate": 0.0,  # dropped blocks would hide whether a method lowers the loss
}
_FOUR = {"depths": (1, 1, 1, 1)}
SIZE = 64

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", {**_PLAIN, "patch_size": 16, "img_size": SIZE}),
    "dinov2": ("vit_small_patch14_dinov2", {**_PLAIN, "patch_size": 16, "img_size": SIZE}),
    "dinov3": ("vit_small_patch16_dinov3", {**_PLAIN, "patch_size": 16, "img_size": SIZE}),
    "eva02": ("eva02_tiny_patch14_224", {**_PLAIN, "patch_size": 16, "img_size": SIZE}),
    "beit": ("beit_base_patch16_224", {**_PLAIN, "patch_size": 16, "img_size": SIZE}),
    "swin": ("swin_tiny_patch4_window7_224", {**_SWIN, "img_size": SIZE}),
    "swinv2": ("swinv2_tiny_window8_256", {**_SWIN, "img_size": SIZE}),
    "convnext": ("convnext_tiny", {**_FOUR, "dims": (16, 16, 32, 32)}),
    "pvt": ("pvt_v2_b0", {**_FOUR, "embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2)}),
    "resnet": (
        "resnet18",
        {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32), "stem_width": 16},
    ),
}


SHALLOW: dict[str, dict[str, Any]] = {"vit": {"depth": 1}, "swin": {"depths": (1, 1)}}


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
