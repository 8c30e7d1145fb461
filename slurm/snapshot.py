"""The code of a sweep, copied once: later edits do not leak into jobs that wait in the queue."""

from __future__ import annotations

import shutil
from pathlib import Path

PACKAGES = ("benchmark", "methods", "results", "slurm")
ROOT = Path(__file__).resolve().parents[1]


def take(sweep: Path) -> Path:
    """Copy the project's packages into `sweep`/code and return that folder.

    Not the reference records: they are no results of the runs folder that the sweep lies in.
    """
    target = sweep / "code"
    ignored = shutil.ignore_patterns("__pycache__", "reference")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=ignored)
    return target


def setup(code: Path) -> list[str]:
    """Return the shell lines of a job that runs the snapshot, and modules of the user's folder."""
    cwd = Path.cwd()
    return [
        f"cd {_quoted(code)} || exit 3",
        f"export PYTHONPATH={_quoted(code)}:{_quoted(cwd)}:$PYTHONPATH HF_HUB_OFFLINE=1",
    ]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
