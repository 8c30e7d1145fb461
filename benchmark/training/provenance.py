"""Where a number came from: code version, packages and hardware."""

from __future__ import annotations

import functools
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmark.core.files import read_json

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "safetensors", "pillow")
SNAPSHOT = "snapshot.json"  # beside a copy of the packages


def provenance(preprocessing: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return git sha and dirty flag, package versions, hardware, time (UTC) and preprocessing."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        **checkout(),
        "packages": {"python": platform.python_version(), **_versions()},
        "hardware": hardware(device),
        "created": created,
        "preprocessing": preprocessing,
    }


@functools.cache
def checkout() -> dict[str, Any]:
    """Return git sha and dirty flag of this code: of the day it was copied, in a sweep's copy."""
    copied = Path(__file__).parents[2] / SNAPSHOT
    if copied.exists():
        return dict(read_json(copied, "submit again"))
    status = _git("status", "--porcelain", "--untracked-files=no")
    dirty = None if status is None else bool(status)
    return {"git_sha": _git("rev-parse", "HEAD"), "git_dirty": dirty}


@functools.cache
def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def hardware(device: torch.device) -> dict[str, Any]:
    """Return processor, threads and the GPU that was used; no host name, no paths."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    } | (rounding(device) if device.type == "cuda" else {})


def rounding(device: torch.device) -> dict[str, Any]:
    """Return what decides how a GPU rounds, and whether several processes can share it.

    Its kind, libraries, TF32 and attention kernels; its memory, and the mode that its owner set.
    """
    major, minor = torch.cuda.get_device_capability(device)
    kernels = {
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
    }
    return {
        "capability": f"{major}.{minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "memory_mib": torch.cuda.get_device_properties(device).total_memory // 2**20,
        "compute_mode": _compute_mode(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "attention": [name for name, enabled in kernels.items() if enabled],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _driver() -> str | None:
    """Return the version of the GPU driver, where the kernel module says it."""
    path = Path("/proc/driver/nvidia/version")
    # "Kernel Module  535.104.05", and of the open one "Kernel Module for x86_64  580.65.06"
    pattern = r"Module\s+(?:for \S+\s+)?([\d.]+)"
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found[1] if found else None


@functools.cache
def _compute_mode() -> str | None:
    """Return "Default" where processes may share a GPU; None where the driver's tool is absent."""
    command = ["nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return ", ".join(sorted(set(answer.stdout.split("\n")) - {""}))


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
