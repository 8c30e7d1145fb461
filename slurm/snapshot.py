"""The code and plan of a sweep, copied and sealed: later edits do not leak into waiting jobs."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

from benchmark.core.files import write_json, write_text
from benchmark.training.provenance import SNAPSHOT, checkout

PACKAGES = ("benchmark", "methods", "results", "slurm")
ROOT = Path(__file__).resolve().parents[1]
SEAL = "SHA256SUMS"
START = "start of run"  # in the error log of a job, which all its runs share
_IGNORED = shutil.ignore_patterns("__pycache__", "reference")


def take(sweep: Path, methods: Iterable[str] = ()) -> Path:
    """Copy the project and the users' modules that `methods` name into `sweep`/code; return it.

    Not the reference records: they are no results of the runs folder that the sweep lies in.
    """
    target = sweep / "code"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=_IGNORED)
    names = {spec.partition("(")[0] for spec in methods}
    for module in {name.partition(":")[0].partition(".")[0] for name in names if ":" in name}:
        _copy_module(module, target)
    write_json(target / SNAPSHOT, checkout())
    return target


def _copy_module(name: str, target: Path) -> None:
    """Copy a module or package of the user's own folder; installed ones stay where they are."""
    found = importlib.util.find_spec(name)
    if found is None or not found.origin or "site-packages" in found.origin:
        return
    path = Path(found.origin)
    if path.name == "__init__.py":
        shutil.copytree(path.parent, target / name, ignore=_IGNORED, dirs_exist_ok=True)
    else:
        shutil.copy(path, target / path.name)


def seal(sweep: Path) -> None:
    """Write the digests of all files of the sweep, in the format of sha256sum."""
    paths = sorted(path for path in sweep.rglob("*") if path.is_file() and path.name != SEAL)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(sweep)}\n"
        for path in paths
    ]
    write_text(sweep / SEAL, "".join(lines))


def setup(code: Path) -> list[str]:
    """Return the shell lines of a job that checks and runs the snapshot, offline.

    PYTHONPATH also holds the user's folder. srun has not passed on the number of cores since
    Slurm 22.05.
    """
    sweep = code.parent
    unseen = (
        f"this node does not see {sweep}; choose a --runs folder on a file system that the nodes "
        "share"
    )
    stale = (
        f"the code or plan of sweep {sweep.name} is missing or was edited since it was submitted; "
        "nothing was trained: cancel and run again"
    )
    note = _quoted(sweep / "note-stale.txt")
    return [
        f'echo "{START} ${{SLURM_RESTART_COUNT:-0}}" >&2',
        f"cd {_quoted(sweep)} || {{ echo {_quoted(unseen)} >&2; exit 3; }}",
        f"sha256sum --check --quiet --strict {SEAL} >&2 ||",
        f"    {{ echo {_quoted(stale)} | tee {note} >&2; exit 3; }}",
        f"cd {_quoted(code)} || exit 3",
        f"export PYTHONPATH={_quoted(code)}:{_quoted(Path.cwd())}:$PYTHONPATH HF_HUB_OFFLINE=1",
        "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} PYTHONDONTWRITEBYTECODE=1",
    ]


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "'\\''") + "'"
