"""Folders outside a run: downloads and digests, and the data sets that the user has."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of cached weights and digests: $BENCHMARK_CACHE, else the user's cache."""
    if folder := os.environ.get("BENCHMARK_CACHE"):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "peft-medical-benchmark"


def data_root() -> Path:
    """Return the folder that holds one folder per named data set: $BENCHMARK_DATA, else `data`."""
    return Path(os.environ.get("BENCHMARK_DATA") or "data")
