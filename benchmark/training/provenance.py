"""Where a number came from: code version, packages and hardware."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "safetensors", "pillow")
SNAPSHOT = "snapshot.json"  # beside a copy of the packages


def provenance(preprocessing: dict[str, Any]) -> dict[str, Any]:
    """Return git sha and dirty flag, package versions, hardware, time (UTC) and preprocessing."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {**_fixed(), "created": created, "preprocessing": preprocessing}


@functools.cache
def checkout() -> dict[str, Any]:
    """Return git sha and dirty flag of this code: of the day it was copied, in a sweep's copy."""
    copied = Path(__file__).parents[2] / SNAPSHOT
    if copied.exists():
        return dict(json.loads(copied.read_text()))
    status = _git("status", "--porcelain", "--untracked-files=no")
    dirty = None if status is None else bool(status)
    return {"git_sha": _git("rev-parse", "HEAD"), "git_dirty": dirty}


@functools.cache
def _fixed() -> dict[str, Any]:
    return {
        **checkout(),
        "packages": {"python": platform.python_version(), **_versions()},
        "hardware": hardware(),
    }


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def hardware() -> dict[str, Any]:
    """Return processor, threads and GPU as names and numbers; no host name, no paths."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str | None:
    """Return what git says in this project's checkout, or None where there is no git or none."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
