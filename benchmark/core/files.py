"""Files: names, folders outside a run, and writing whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import orjson

from benchmark.core.registry import InputError

PREDICTIONS = "predictions.npz"
DELTA = "delta.safetensors"


def cache_folder() -> Path:
    """Return the folder of cached weights and digests: $BENCHMARK_CACHE, else the user's cache."""
    if folder := os.environ.get("BENCHMARK_CACHE"):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "peft-medical-benchmark"


def data_root() -> Path:
    """Return the folder that holds one folder per named data set: $BENCHMARK_DATA, else `data`."""
    return Path(os.environ.get("BENCHMARK_DATA") or "data")


def usual_rights(path: Path) -> None:
    """Give a temporary file or folder the rights of a plain one: it was made for its owner alone.

    Runs folders and caches are shared by groups.
    """
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all (temporary file in the same folder, then `os.replace`)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise InputError(
            f"cannot write in {str(path.parent)!r} ({error.strerror}); choose another with --runs"
        ) from None
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        usual_rights(Path(temporary))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as JSON, atomically; NaN is refused because it is not JSON."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str) -> Any:
    """Return the JSON in `path`: no NaN, no numbers out of range, UTF-8.

    Raises:
        InputError: for a file that cannot be read or is not JSON; it ends with `remedy`.
    """
    try:
        # a FIFO in its place would wait for a writer for ever
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as stream:
            return orjson.loads(stream.read())  # 0.06 ms a record where json takes 0.28
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole JSON file ({error}); {remedy}") from None
