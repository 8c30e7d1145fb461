"""timm's networks as backbones describe them: built, or looked at without memory for tensors."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import timm
import timm.layers
import torch
from timm.models.hiera import Hiera
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn
from torch.nn import functional as F

from benchmark.backbones import unet
from benchmark.backbones.layouts import State
from benchmark.backbones.sources import resolve
from benchmark.backbones.zoo import Entry
from benchmark.core.registry import InputError, unknown

unet.register()
# by name, because a spec on the command line and a config.json hold no classes
MLPS = ("Mlp", "GluMlp", "SwiGLU", "SwiGLUPacked", "GatedMlp")


def build(backbone: Entry, image_size: int, **more: Any) -> nn.Module:
    """Return the network, by default without classifier; `img_size` is passed where it has one.

    Raises:
        InputError: an argument that the network does not have, or a value that it cannot take.
    """
    arguments = {"num_classes": 0, **_classes(backbone.kwargs), **more}
    try:
        try:
            return timm.create_model(backbone.timm_name, img_size=image_size, **arguments)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            # convolutional networks take any size, and say that they know no such argument
            return timm.create_model(backbone.timm_name, **arguments)
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        if not backbone.kwargs:
            raise  # no word of the user's is in it: a fault of ours or of timm's
        _check_names(backbone)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{backbone.timm_name} cannot be made with {backbone.kwargs}: {reason}"
        ) from None


def _classes(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments in which the names of layers are replaced by the layers."""
    found = dict(kwargs)
    for key, value in kwargs.items():
        if not isinstance(value, str):
            continue
        if key == "mlp_layer":
            if value not in MLPS:
                raise unknown("mlp_layer", value, MLPS)
            # of the list above alone: any other name in that module may be anything
            found[key] = getattr(timm.layers, value)
        elif key in ("act_layer", "norm_layer"):
            get = timm.layers.get_act_layer if key == "act_layer" else timm.layers.get_norm_layer
            try:
                found[key] = get(value.lower())
            except (KeyError, AssertionError, AttributeError):  # timm's versions differ here
                found[key] = None
            if found[key] is None:
                raise InputError(f"{key}={value!r} is no layer that timm knows; try SiLU or GELU")
    return found


def _check_names(backbone: Entry) -> None:
    """Raise InputError for an argument that the network does not have."""
    with torch.device("meta"):
        plain = timm.create_model(backbone.timm_name, num_classes=0)
    known = set(inspect.signature(type(plain).__init__).parameters) - {"self", "device", "dtype"}
    for name in backbone.kwargs:
        if name not in known:
            raise unknown(f"argument of {backbone.timm_name}:", name, known)


def skeleton(backbone: Entry, image_size: int | None = None) -> nn.Module:
    """Return the network on torch's "meta" device: names and shapes, without values.

    It is shared: nobody changes it.
    """
    size = backbone.default_size if image_size is None else image_size
    return _skeleton(backbone.timm_name, repr(backbone.kwargs), size)


@functools.lru_cache(maxsize=16)
def _skeleton(timm_name: str, kwargs: str, image_size: int) -> nn.Module:
    # without memory, or a ViT-g would take 4 GB and half a minute to learn 500 names
    with torch.device("meta"):
        return build(Entry("", timm_name, kwargs=ast.literal_eval(kwargs)), image_size)


def stride(backbone: Entry) -> int:
    """Return what the image side must be a multiple of: the coarsest level, of a ViT its patch."""
    if backbone.multiple:
        return backbone.multiple
    info: Any = skeleton(backbone).feature_info
    return max(int(level["reduction"]) for level in info)


def check_size(name: str, image_size: int) -> None:
    """Raise InputError with the nearest sizes where the backbone cannot take this image side."""
    backbone = resolve(name)
    step = stride(backbone)
    smallest = 4 * step if backbone.multiple else step
    if image_size % step or image_size < smallest:
        below = max(image_size // step * step, smallest)
        raise InputError(
            f"image size {image_size} does not suit {backbone.name}: it must be a multiple of "
            f"{step}, for example {below} or {below + step}"
        )


def sized(state: State, backbone: Entry, image_size: int) -> State:
    """Return `state` with the tables of positions that timm resizes only in the forward pass.

    SAM resizes its tables in each forward pass when the image has another size than in training,
    Hiera not at all; a network that is built for the size has them once, as all other ViTs here.
    """
    network = skeleton(backbone, image_size)
    if not isinstance(network, VisionTransformerSAM | Hiera):
        return state
    found, wanted = dict(state), network.state_dict()
    for name in found.keys() & wanted.keys():
        table, shape = found[name], wanted[name].shape
        if table.shape == shape or table.shape[-1] != shape[-1]:
            continue
        if name == "pos_embed" and table.ndim == len(shape) == 4:  # SAM: (1, H, W, C)
            resized = timm.layers.resample_abs_pos_embed_nhwc(table.float(), list(shape[1:3]))
        elif name == "pos_embed" and table.ndim == len(shape) == 3:  # Hiera: (1, H W, C)
            side = round(shape[1] ** 0.5)
            resized = timm.layers.resample_abs_pos_embed(
                table.float(), [side, side], num_prefix_tokens=0
            )
        elif name.endswith(("rel_pos_h", "rel_pos_w")):  # (2 side - 1, C), as SAM's forward pass
            rows = table.float().T[None]
            resized = F.interpolate(rows, size=shape[0], mode="linear")[0].T.contiguous()
        else:
            continue
        found[name] = resized.to(table.dtype)
    return found
