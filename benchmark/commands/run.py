"""Train the cells of a sweep, skip what is done, and print the table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.api import EXECUTORS, Sweep
from benchmark.commands._axes import add_axes, add_runs, axes_of, dashed, flag
from benchmark.commands.report import FORMATS, show
from benchmark.core.numbers import COUNT
from benchmark.core.registry import InputError

if TYPE_CHECKING:
    import pandas as pd

    from results.reporting import Report

SLURM = ("slurm", "max_parallel", "cells_per_job", "probe", "retry_mem", "retry_time", "wait")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    add_axes(parser)
    add_runs(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")
    parser.add_argument(
        "--peek",
        action="store_true",
        help="also measure what choosing the checkpoint on the test set would have gained",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile each block: pays in long cells only"
    )
    parser.add_argument(
        "--cuda-graph",
        action="store_true",
        help="send all kernels of a pass to the GPU at once (torch.compile of the whole model with "
        "mode reduce-overhead): for small batches",
    )
    parser.add_argument(
        "--only",
        metavar="END",
        help="train again only what failed, or ran out of memory (oom) or of time (timeout)",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="kernels that give the same bits each time"
    )
    parser.add_argument(
        "--test-on", metavar="A,B", help="also score on other sets of the same classes"
    )
    parser.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="inline",
        help="inline: in this process; local: in several; slurm: as jobs (default: inline)",
    )
    parser.add_argument(
        "--jobs",
        type=_num_jobs,
        metavar="N",
        help="processes of --executor local, or auto: on each GPU as many as records say that its "
        "memory holds, 1 to 3, whose times then stay out of the efficiency table (default: one on "
        "each GPU; without one 2)",
    )
    slurm = parser.add_argument_group("with --executor slurm")
    slurm.add_argument(
        "--slurm",
        action="append",
        metavar="NAME=VALUE,...",
        help="options of sbatch and of this program, such as partition=gpu,gpus_per_node=1; "
        "may be given several times",
    )
    slurm.add_argument(
        "--max-parallel",
        type=flag(COUNT),
        metavar="N",
        help="jobs of this submission that run at once, over all its arrays (default: 64)",
    )
    for name, what in (("mem", "the memory if it died of it"), ("time", "the time if it ran out")):
        slurm.add_argument(
            f"--retry-{name}", metavar="2x", help=f"a cell gets so many times {what} (default: 2x)"
        )
    slurm.add_argument(
        "--cells-per-job", metavar="N", help="a number, or auto: about 15 minutes (default: auto)"
    )
    slurm.add_argument(
        "--probe",
        action="store_const",
        const=True,
        help="measure time and memory here, in short cells, first",
    )
    slurm.add_argument(
        "--wait",
        action="store_const",
        const=True,
        help="until the queue is empty; send again what died",
    )


def _num_jobs(text: str) -> int | str:
    """Return the number of processes, or "auto"."""
    return text if text == "auto" else flag(COUNT)(text)


def run(arguments: argparse.Namespace) -> int:
    """Plan, train what is to do, report; return 1 when a cell has no result."""
    given = {name: getattr(arguments, name) for name in SLURM}
    given = {name: value for name, value in given.items() if value is not None}
    executor = arguments.executor
    if executor != "slurm" and given:
        flags = ", ".join(map(dashed, given))
        raise InputError(f"{flags}: only with --executor slurm")
    wait = given.pop("wait", False)
    request = {"resources": given.pop("slurm", ""), **given} if executor == "slurm" else ""
    sweep = Sweep(
        **axes_of(arguments),
        runs=arguments.runs,
        suite=arguments.suite,
        config=arguments.config,
        tune_budget=arguments.tune_budget,
        tuned_from=arguments.tuned_from,
        until_converged=arguments.until_converged,
        test_on=arguments.test_on,
        peek=arguments.peek,
        compile=arguments.compile,
        cuda_graph=arguments.cuda_graph,
        deterministic=arguments.deterministic,
        gpu=_on_gpu(request),
    )
    plan = sweep.plan(executor=executor, jobs=arguments.jobs, only=arguments.only)
    print(plan)
    if arguments.dry_run:
        # what will happen comes before the list of cells, which may have thousands of lines
        if executor == "slurm":
            print(sweep.submission(request, only=arguments.only))
        print("\n".join(f"  {cell.slug}" for cell in sweep.cells))
        return 0
    results = sweep.run(
        executor, jobs=arguments.jobs, slurm=request, wait=wait, only=arguments.only
    )
    if executor == "slurm" and not wait:
        print(f"python -m benchmark status --runs {arguments.runs}  # shows how far it is")
        return 0
    without = results[~results["state"].isin(("done", "n/a"))]
    if arguments.only:  # the others were not asked for
        without = without[without["key"].isin({cell.key for cell in plan.left})]
    if len(without) < len(results):
        formats = FORMATS.split(",")
        report = sweep.report(arguments.runs / "report", formats=formats, replaces=True)
        show(report)
        print(f"records: {arguments.runs}/DATASET/BACKBONE/METHOD/.../record.json")
        print(f"next: {next_step(results, arguments.runs, num_ties(report))}")
    for row in without.itertuples():
        reason = f": {row.reason}" if row.reason else ""  # else a line above has told it
        print(f"{row.state}: {row.folder}{reason}", file=sys.stderr)
    return 1 if len(without) else 0


def num_ties(report: Report) -> int:
    """Return how many methods of how many columns noise does not tell from their reference."""
    found = report.tables.get("statistics")
    return 0 if found is None else int(((found["test"] == "t") & (found["verdict"] == "tie")).sum())


def next_step(results: pd.DataFrame, runs: Path, ties: int) -> str:
    """Return the command that most likely comes next after these results."""
    if (results["state"] == "failed").any():
        return f"python -m benchmark status --runs {runs} --tail 20  # why cells failed"
    if len(set(results["seed"])) == 1:
        return "the same command with --seeds 0,1,2  # one seed has no spread"
    report = f"python -m benchmark report --runs {runs}"
    if ties:
        word = "tie" if ties == 1 else "ties"
        return f"{report} --plan-seeds 2  # {ties} {word}: tells how many seeds see 2 points"
    return f"{report} --paper my.toml  # a table for print, see results/examples"


def _on_gpu(request: dict[str, object] | str) -> bool | None:
    """Return true where jobs ask for GPUs: what this machine has says nothing about them."""
    if not request:
        return None
    from slurm.executor import Request

    return True if Request.of(request).asked.gpus else None
