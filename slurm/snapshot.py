"""The code and plan of a sweep, copied and sealed: later edits do not leak into waiting jobs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.core.files import sha256_of, write_json, write_text
from benchmark.core.spec import base_name
from slurm.logs import NO_ANSWER, START

PACKAGES = ("benchmark", "methods", "results", "slurm")
ROOT = Path(__file__).resolve().parents[1]
SEAL = "SHA256SUMS"
RESERVE_S = 25  # before the time limit, in which the script can still send the job back
# A job's name for commands of Slurm. The last task of an array has the number of the array as its
# SLURM_JOB_ID, and by that Slurm understands all tasks.
NAMED = (
    'export BENCH_JOB="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}'
    '${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"'
)
_IGNORED = shutil.ignore_patterns("__pycache__", "reference*", "equal_steps")


def take(sweep: Path, methods: Iterable[str] = ()) -> Path:
    """Copy the project and the users' modules that `methods` name into `sweep`/code; return it.

    Not the records of the repository, which are no results of the folder that the sweep lies in.
    """
    from benchmark.training.provenance import SNAPSHOT, checkout  # imports torch: not on a node

    target = sweep / "code"
    # a plain copy, not a git worktree: the code need not be committed, nor git be installed
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=_IGNORED)
    names = {base_name(spec) for spec in methods}
    for module in {name.partition(":")[0].partition(".")[0] for name in names if ":" in name}:
        _copy_module(module, target)
    write_json(target / SNAPSHOT, checkout())
    return target


def _copy_module(name: str, target: Path) -> None:
    """Copy a module or package of the user's own folder; installed ones stay where they are."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or "site-packages" in spec.origin:
        return
    path = Path(spec.origin)
    if path.name == "__init__.py":
        shutil.copytree(path.parent, target / name, ignore=_IGNORED, dirs_exist_ok=True)
    else:
        shutil.copy(path, target / path.name)


def seal(sweep: Path) -> None:
    """Write the digests of all files of the sweep, in the format of sha256sum."""
    paths = sorted(path for path in sweep.rglob("*") if path.is_file() and path.name != SEAL)
    lines = [f"{sha256_of(path)}  {path.relative_to(sweep)}\n" for path in paths]
    write_text(sweep / SEAL, "".join(lines))


def setup(
    code: Path, commands: Sequence[str] = (), limit_min: int = 0, delay_s: int = 90
) -> list[str]:
    """Return the shell lines of a job before its step: the user's, then the check of the snapshot.

    `limit_min` is the time limit of the job, 0 if unknown; the signal comes `delay_s` before it.

    Each line that fails ends the job, with what failed in its log and in a note that `status`
    shows: a node without a module or a file system must not train with something else.
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
    lines = [
        NAMED,
        # The script starts itself again in the same allocation, and finds its own variables then;
        # after a way through the queue, or when a job submits a job, they are of another run.
        'if [ "$BENCH_RUN" != "$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" ]; then',
        '    export BENCH_RUN="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"',
        "    export BENCH_SINCE=$(date +%s) BENCH_TRY=0",
        "fi",
        f'echo "{START} ${{SLURM_RESTART_COUNT:-0}}.$BENCH_TRY on $(hostname), $(date +%FT%T)" >&2',
    ]
    for command in commands:
        failed = quoted(f"setup failed: {command}")
        note = quoted(sweep / "note-setup.txt")
        lines.append(f'{command} || {{ echo {failed}" on $(hostname)" | tee {note} >&2; exit 3; }}')
    note = quoted(sweep / "note-stale.txt")
    lines += [
        f"cd {quoted(sweep)} || {{ echo {quoted(unseen)} >&2; exit 3; }}",
        f"sha256sum --check --quiet --strict {SEAL} >&2 ||",
        f"    {{ echo {quoted(stale)} | tee {note} >&2; exit 3; }}",
        f"cd {quoted(code)} || exit 3",
        f"export PYTHONPATH={quoted(code)}:{quoted(Path.cwd())}:$PYTHONPATH HF_HUB_OFFLINE=1",
        # srun has not passed on the number of cores since Slurm 22.05
        "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} PYTHONDONTWRITEBYTECODE=1",
        "export SLURM_EXPORT_ENV=ALL",  # else a site's --export=NONE hides PYTHONPATH from srun
    ]
    if limit_min:
        lines += _end_of_silence(60 * limit_min - min(RESERVE_S, delay_s // 2))
    return lines


def _end_of_silence(seconds: int) -> list[str]:
    """Return lines that end a step which has not heard the signal of the time limit.

    At its limit Slurm kills the script as well, and the job is gone. A few seconds before, the
    script still lives and can count the hang and send the job back to the queue. The steps are
    cancelled by their own numbers, because to kill all steps of a job is to cancel it.
    """
    return [
        "( trap 'kill $nap; exit' TERM",
        f"  sleep $((BENCH_SINCE + {seconds} - $(date +%s))) & nap=$!",
        "  wait $nap",
        f'  echo "{NO_ANSWER}" >&2',
        '  squeue -h -s -j "$BENCH_JOB" -o %i | grep -Ev "batch|extern" | xargs -r scancel',
        ") &",
        "silence=$!",
    ]


def quoted(text: object) -> str:
    """Return `text` as one word of a shell."""
    return "'" + str(text).replace("'", "'\\''") + "'"
