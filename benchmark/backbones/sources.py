"""What may be named as a backbone on the command line, and what a name stands for.

A short name; `timm:NAME` (any timm model, weights from its hub); `random:NAME` (the untrained
control); `file:PATH@NAME` (weights from a local file); `hub:OWNER/NAME` (a repository of the model
hub) and `local-dir:PATH` (a folder), which say in their own config.json what they hold. NAME may
have arguments of the network, and the `mean` and `std` of the images that the weights expect:
`file:PATH@vit_large_patch16_224(init_values=1e-5,mean=0.5+0.5+0.5)`. Imports neither torch nor
timm, but for names that only timm knows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.backbones import configs
from benchmark.backbones.zoo import UNTRAINED, Channels, Entry, backbones
from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import base_name, format_spec, parse_spec

SCHEMES = ("timm", "random", "file", "hub", "local-dir")


def resolve(name: str) -> Entry:
    """Return the backbone of a short name or of one of the `SCHEMES`.

    `hub:` reads the config.json of a repository, over the network where it is not in the cache yet.

    Raises:
        InputError: an unknown name, source or argument, or a config.json that cannot be used.
    """
    scheme, _, rest = name.partition(":")
    if not rest:
        return backbones[name]
    if scheme == "hub":
        # a row knows more than a config.json can say, such as the layers of Virchow2
        known = [b for b in map(backbones.__getitem__, backbones) if b.repository == rest]
        return known[0] if known else _configured(name, name, configs.of_repository(rest))
    if scheme == "local-dir":
        label = f"local-dir:{Path(rest).resolve().name}"  # of "." as well
        return _configured(label, name, configs.of_folder(Path(rest)))
    if scheme not in SCHEMES:
        raise unknown("weight source", scheme, SCHEMES)
    path, _, base = rest.rpartition("@") if scheme == "file" else ("", "", rest)
    if scheme == "file" and not path:
        raise InputError(f"{name!r} names no backbone; write file:PATH@NAME")
    base, arguments = parse_spec(base)
    # `timm:` asks for timm's own weights: a short name of ours may stand for others
    named = base in backbones and scheme != "timm"
    inner = backbones[base] if named else Entry(base, _known(base))
    if path and (told := configs.beside(Path(path))):
        inner = replace(inner, mean=told[0], std=told[1])  # of the weights, not of the network
    inner, arguments = _with_arguments(inner, arguments)
    title = format_spec(inner.name, arguments)
    # the file's name without its folder: cells and tables hold no paths
    label = f"{scheme}:{Path(path).stem}@{title}" if path else f"{scheme}:{title}"
    source = "hub:" if scheme == "timm" else f"{scheme}:{path}"
    return replace(inner, name=label, source=source, wheel=None, weights_file="")


def _configured(name: str, source: str, config: configs.Config) -> Entry:
    return Entry(
        name,
        _known(config.timm_name),
        source,
        config.image_size,
        kwargs=config.kwargs,
        mean=config.mean,
        std=config.std,
        weights_file=config.weights_file,
        from_config=True,
    )


def _with_arguments(inner: Entry, arguments: dict[str, Any]) -> tuple[Entry, dict[str, Any]]:
    """Return a backbone with arguments of a spec, and them as names of cells print them."""
    channels = {k: _channels(k, v) for k, v in arguments.items() if k in ("mean", "std")}
    kwargs = {k: v for k, v in arguments.items() if k not in channels}
    # what the harness decides, and an argument must not undo; pooling may be chosen, not left out
    fixed: list[str] = [
        name for name in ("num_classes", "in_chans", "img_size", "pretrained") if name in kwargs
    ]
    fixed += ["global_pool"] if not kwargs.get("global_pool", "token") else []
    if fixed:
        raise InputError(
            f"{fixed[0]}={kwargs[fixed[0]]!r} cannot be set: networks here take images of three "
            "channels at --image-size and give pooled features"
        )
    changed = replace(
        inner,
        kwargs=inner.kwargs | kwargs,
        mean=channels.get("mean", inner.mean),
        std=channels.get("std", inner.std),
    )
    return changed, kwargs | channels


def _channels(name: str, value: Any) -> Channels:
    """Return "0.5+0.4+0.3", (0.5, 0.4, 0.3) or one number for all as three numbers."""
    # "+" divides, as in targets=q+v: a comma would end the argument
    values = value.split("+") if isinstance(value, str) else value
    values = list(values) if isinstance(values, list | tuple) else [values] * 3
    try:
        red, green, blue = (float(v) for v in values)
    except (TypeError, ValueError):
        red = green = blue = math.nan
    if not all(math.isfinite(v) for v in (red, green, blue)) or (
        name == "std" and min(red, green, blue) <= 0
    ):
        above = " above 0" if name == "std" else ""
        raise InputError(f"{name}={value!r} must be one number{above} or three, as 0.5+0.4+0.3")
    return red, green, blue


def _known(timm_name: str) -> str:
    import timm  # only here: short names are checked without it

    if not timm.is_model(timm_name):
        raise unknown("timm model", timm_name.partition(".")[0], timm.list_models())
    return timm_name


def row(name: str) -> Entry | None:
    """Return the named backbone behind what cells call a backbone; None where there is none."""
    scheme, _, rest = name.partition(":")
    base = base_name(rest.rpartition("@")[2]) if rest else name
    # `timm:`, `hub:` and `local-dir:` names may end like one of ours by chance
    known = base in backbones and (not rest or scheme in ("random", "file"))
    return backbones[base] if known else None


def origin(name: str) -> dict[str, Any]:
    """Return the work (in one line, and in fields) and licence of a backbone as cells name it.

    Empty where it is not known.
    """
    entry = row(name)
    if entry is None:
        return {}
    assert entry.citation is not None
    scheme = name.partition(":")[0]
    licence = {"random": UNTRAINED, "file": "of the file's owner"}.get(scheme, entry.licence)
    works = [entry.citation.to_json()]
    return {"citation": entry.citation.short, "works": works, "licence": licence}
