"""Show which pre-trained weights are here, fetch them for nodes without a network, check them."""

from __future__ import annotations

import argparse

from benchmark.core.registry import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument(
        "what",
        choices=("list", "fetch", "check"),
        help="list: what is here; fetch: into the cache; check: whether it is whole, and what a "
        "file of your own holds",
    )
    parser.add_argument(
        "names", nargs="?", metavar="A,B", help="backbones (default: all; check: all that are here)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return 1 when `check` finds damaged weights."""
    from benchmark.core.spec import split_list

    names = [] if arguments.names is None else split_list(arguments.names)
    return {"list": _list, "fetch": _fetch, "check": _check}[arguments.what](names)


def _list(names: list[str]) -> int:
    """Print every backbone with published weights, and whether they are cached."""
    from benchmark import backbones
    from benchmark.core.files import cache_folder
    from benchmark.sweep.catalogue import as_text

    rows: list[list[str]] = []
    for name in names or _published():
        path = backbones.cache_path(name)
        size = f"{path.stat().st_size / 2**20:.0f} MiB" if path.exists() else "absent"
        rows.append([name, backbones.resolve(name).source, size])
    print(as_text((["backbone", "source", f"in {cache_folder()}"], rows)))
    return 0


def _fetch(names: list[str]) -> int:
    from benchmark import backbones

    if not names:
        raise InputError("`weights fetch` needs backbones, for example `weights fetch vit_b16_mae`")
    for name in names:
        backbones.prefetch(name)
        print(f"{name}: {backbones.cache_path(name)}, fingerprint {backbones.fingerprint(name)}")
    return 0


def _check(names: list[str]) -> int:
    """Compare the cached tensors with the fingerprint noted when they were fetched.

    Weights of the user's own are loaded into their network, and what was found is said.
    """
    from benchmark import backbones
    from benchmark.backbones import weights

    here = [n for n in names or _published() if names or backbones.cache_path(n).exists()]
    code = 0
    for name in here:
        if not backbones.resolve(name).is_fetched:
            print(_found(name))
            continue
        path, state = backbones.cache_path(name), "whole"
        try:
            weights.read_cached(path)
        except InputError:
            code, state = 1, "damaged: delete it, it is fetched again"
        print(f"{name}: {state} ({path})")
    return code


def _found(name: str) -> str:
    """Load weights that lie in a file of the user, and describe them in one line."""
    from benchmark import backbones
    from methods import families

    entry = backbones.resolve(name)
    network = backbones.create(name, entry.default_size)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    family = families.find(network)
    normalization = backbones.preprocessing(name)
    mean, std = (" ".join(f"{v:g}" for v in normalization[key]) for key in ("mean", "std"))
    ignored = backbones.left_out(name)
    parts = [
        f"{entry.name}: whole, {millions:.1f} M parameters of {entry.timm_name}",
        f"fingerprint {backbones.fingerprint(name)}",
        f"images of mean {mean}, std {std}",
        f"family {family.name}" if family else families.unknown(network),
    ]
    if ignored:
        parts.append("left out: " + ", ".join(f"{k} ({n})" for k, n in ignored.items()))
    return "; ".join(parts)


def _published() -> list[str]:
    """Return the names of the registered backbones whose weights must be fetched."""
    from benchmark.backbones import backbones

    return [name for name in backbones if backbones[name].is_fetched]
