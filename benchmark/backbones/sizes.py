"""Which image sides a backbone takes."""

from __future__ import annotations

import re

from benchmark.backbones.zoo import Entry, resolve
from benchmark.core.registry import InputError


def stride(backbone: Entry) -> int:
    """Return what the image side must be a multiple of: the patch of a plain ViT, else 32."""
    if given := backbone.multiple or backbone.kwargs.get("patch_size"):
        return int(given)
    patch_in_name = re.search(r"patch(\d+)", backbone.timm_name)
    plain = backbone.timm_name.startswith(("vit", "deit", "eva", "beit"))
    return int(patch_in_name[1]) if plain and patch_in_name else 32


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
