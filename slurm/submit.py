"""From cells to Slurm arrays: planned on the disk first, then submitted, never twice."""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import submitit
from submitit.slurm.slurm import _make_sbatch_string

from benchmark.core.cell import Cell
from benchmark.core.files import ERROR, ERROR_BEFORE, digest, write_json
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.sweep.claims import claimed
from slurm import snapshot
from slurm.jobs import Batch
from slurm.packing import Group
from slurm.queue import JOBS, PREFIX, SWEEPS, call, mark


@dataclass(frozen=True)
class Order:
    """What is to be submitted: groups of batches of cells, and under which conditions."""

    groups: list[Group]
    sources: dict[str, str]
    runs: Path
    max_parallel: int
    settings: Settings = field(default_factory=Settings)

    @property
    def batches(self) -> list[list[Cell]]:
        """Return the batches of all groups."""
        return [batch for group in self.groups for batch in group.batches]


def site_limit() -> int:
    """Return how many tasks one array may have here (MaxArraySize of `scontrol show config`)."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    return max(1, int(match[1]) - 1) if match else 1000


def chunks(batches: list[list[Cell]], limit: int) -> list[list[list[Cell]]]:
    """Return the batches in arrays of at most `limit` tasks."""
    return [batches[i : i + limit] for i in range(0, len(batches), limit)]


def lanes(arrays: Sequence[Group], max_parallel: int) -> list[tuple[int, int | None]]:
    """Return, per array, (how many of its jobs run at once, the array that it waits for or None).

    Slurm limits the jobs of one array only, so the arrays of a submission share `max_parallel` out
    by their sizes. Where there are more arrays than that, or several because the site allows no
    longer ones, each waits until an earlier one has ended.
    """
    kinds = list(dict.fromkeys(id(array.resources) for array in arrays))
    num_lanes = min(len(kinds), max_parallel)
    lane_of = [kinds.index(id(array.resources)) % num_lanes for array in arrays]
    sizes = [0] * num_lanes
    for array, lane in zip(arrays, lane_of, strict=True):
        sizes[lane] += len(array.batches)
    shares = [1] * num_lanes
    for _ in range(max_parallel - num_lanes):  # the next place goes where it is missed most
        lane = max(range(num_lanes), key=lambda n: sizes[n] / shares[n])
        if sizes[lane] <= shares[lane]:
            break  # every job has a place
        shares[lane] += 1
    last: dict[int, int] = {}
    shared = []
    for number, lane in enumerate(lane_of):
        shared.append((shares[lane], last.get(lane)))
        last[lane] = number
    return shared


def _parameters(array: Group, name: str, code: Path, parallel: int) -> dict:
    """Return the parameters of submitit's executor for an array."""
    asked = array.resources
    setup = snapshot.setup(code, asked.setup, asked.limit_min, asked.signal_delay_s)
    return asked.parameters(name, parallel, setup, str(code.parent))


def arrays(order: Order, limit: int) -> list[tuple[Group, int, int | None]]:
    """Return the arrays of an order, of at most `limit` tasks, with what `lanes` says of each."""
    parts = [replace(g, batches=part) for g in order.groups for part in chunks(g.batches, limit)]
    return [
        (part, *lane) for part, lane in zip(parts, lanes(parts, order.max_parallel), strict=True)
    ]


def sbatch_text(array: Group, name: str, code: Path, parallel: int) -> str:
    """Return the script that submitit hands to sbatch, with LOGS for the name of the pickle."""
    # The function is private to submitit, which offers no other way to see a script that is not
    # submitted; a golden file in the tests notices when it changes.
    command = f"{array.resources.python} -u -m submitit.core._submit LOGS"
    count = len(array.batches) if len(array.batches) > 1 else None
    parameters = _parameters(array, name, code, parallel)
    return _make_sbatch_string(command, code.parent / "logs", map_count=count, **parameters)


def check(order: Order, limit: int) -> None:
    """Ask Slurm, once per group, whether jobs of this kind could ever run; nothing is submitted.

    Raises:
        InputError: an unknown partition, or resources that no node has, in sbatch's words.
    """
    with tempfile.TemporaryDirectory() as folder:
        for group in order.groups:
            first = replace(group, batches=group.batches[:limit])
            path = Path(folder) / "test.sh"
            path.write_text(sbatch_text(first, f"{PREFIX}test-0", Path(folder) / "code", 1))
            call("sbatch", "--test-only", str(path))


def submit(order: Order) -> tuple[str, list[str]]:
    """Submit the order and return (name of the sweep, job ids of its arrays).

    `plan.json` with all batches is written before the first job, and job names hold the sweep and
    the number of the array: if this process dies in between, the queue and the disk still tell
    which cells are waiting.

    Raises:
        InputError: no Slurm here, or what sbatch refuses; arrays submitted before that stay.
    """
    call("sbatch", "--version")
    limit = site_limit()
    check(order, limit)
    parts = arrays(order, limit)
    # Names of jobs hold that of the sweep. It has a mark of the runs folder, so that jobs can be
    # cancelled after somebody deleted their sweep, and a random part.
    random_part = digest(f"{order.batches[0][0].key} {time.time_ns()}", 6)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{mark(order.runs)}-{random_part}"
    sweep = order.runs / SWEEPS / name
    # The order matters: whoever dies in between leaves a plan without jobs, which is harmless, and
    # never jobs that nobody can name.
    _prepare(sweep, order, [array for array, _, _ in parts])
    code = snapshot.take(sweep, {cell.method for batch in order.batches for cell in batch})
    snapshot.seal(sweep)
    for cell in (cell for batch in order.batches for cell in batch):
        # from now on the cell is to do: what it failed of before is kept under another name
        with suppress(FileNotFoundError):
            folder = cell.folder(order.runs)
            (folder / ERROR).replace(folder / ERROR_BEFORE)
    ids: list[str] = []
    for number, (array, parallel, before) in enumerate(parts):
        asked = array.resources
        executor = submitit.SlurmExecutor(sweep / "logs", python=asked.python)
        parameters = _parameters(array, f"{PREFIX}{sweep.name}-{number}", code, parallel)
        if before is not None:
            more = parameters["additional_parameters"]
            given = f"{more['dependency']}," if "dependency" in more else ""
            more["dependency"] = f"{given}afterany:{ids[before]}"
        executor.update_parameters(**parameters)
        batches = [
            Batch(
                tuple(cells), order.runs, sweep, order.sources,
                replace(order.settings, processes_per_gpu=asked.sharing(len(cells))),
                gpus=asked.gpus, limit_min=asked.limit_min, hang_min=asked.hang_min,
            )
            for cells in array.batches
        ]  # fmt: skip
        try:
            ids.append(_submit(executor, batches))
        except InputError as error:
            accepted = sum(len(array.batches) for array, _, _ in parts[:number])
            count = len(order.batches)
            raise InputError(
                f"{error}; {accepted} of {count} jobs were accepted and stay in the queue; run the "
                "same command again later for the others"
            ) from None
        write_json(sweep / JOBS, {"ids": ids})
    return sweep.name, ids


@contextmanager
def alone(runs: Path) -> Iterator[None]:
    """Keep other submissions to the same runs folder waiting during a block."""
    for number in itertools.count():
        with claimed(runs / SWEEPS) as claim:
            if claim is not None:
                yield
                return
        if number == 0:
            sys.stderr.write(f"another submission to {str(runs)!r} goes on; waiting for its end\n")
        time.sleep(1)


def _submit(executor: submitit.SlurmExecutor, batches: Sequence[Batch]) -> str:
    try:
        # inside the block submitit only collects; at its end it sends one array
        with executor.batch():
            jobs = [executor.submit(batch) for batch in batches]
    except submitit.core.utils.FailedJobError as error:
        # sbatch tries again by itself for some minutes; its last line says why it gave up
        lines = [line for line in str(error).splitlines() if "error" in line.lower()]
        raise InputError(f"sbatch refused: {(lines or [str(error)])[-1]}") from None
    return str(jobs[0].job_id).partition("_")[0]


def _prepare(sweep: Path, order: Order, parts: list[Group]) -> None:
    """Write which cells stand in which task, and for people what each cell and job is."""
    try:
        (sweep / "logs").mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"cannot write logs in {str(sweep)!r} ({error.strerror}); choose another --runs"
        ) from None
    slugs = [[[cell.slug for cell in cells] for cells in array.batches] for array in parts]
    write_json(sweep / "plan.json", {"chunks": slugs})
    cells = {cell.slug: asdict(cell) for batch in order.batches for cell in batch}
    asked = [asdict(array.resources) for array in parts]
    write_json(sweep / "cells.json", {"sources": order.sources, "arrays": asked, "cells": cells})


def absolute(order: Order) -> Order:
    """Return the order with absolute paths: jobs start in another folder."""
    sources = {
        name: source if source == name else _absolute(source)
        for name, source in order.sources.items()
    }
    return replace(order, runs=order.runs.resolve(), sources=sources)


def _absolute(source: str) -> str:
    """Return a source with its path made absolute, if it is one: `file:PATH@NAME` or a path."""
    if source.startswith("file:"):
        path, _, name = source.removeprefix("file:").rpartition("@")
        return f"file:{Path(path).resolve()}@{name}"
    return str(Path(source).resolve()) if Path(source).exists() else source
