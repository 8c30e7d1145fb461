"""The public functions, for notebooks and scripts; `import benchmark` gives them.

```python
import benchmark as b

sweep = b.Sweep(["linear", "lora(rank=8)"], "busi", fractions=[0.1, 1.0], seeds=range(3))
sweep.plan()  # what is to do, and how long it should take
frame = sweep.run("local", jobs=2)  # a pandas DataFrame, one row per cell
```

The command line calls the same functions. torch, timm and pandas are imported by what needs them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from benchmark.core.registry import InputError, unknown
from benchmark.core.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.core.cell import Cell
    from benchmark.execution.status import AskQueue, Status
    from benchmark.sweep.plan import Plan
    from benchmark.sweep.tuning import Tuned
    from benchmark.trained import Trained
    from results.reporting import Report
    from slurm.executor import Request

T = TypeVar("T")
Values: TypeAlias = "T | Sequence[T] | None"  # of one axis: a value, several, or its default
Executor = Literal["inline", "local", "slurm"]
EXECUTORS = ("inline", "local", "slurm")
Jobs: TypeAlias = int | Literal["auto"] | None
ROUNDS = 3  # submissions of a cell whose job died without a result, with `wait`
# What a reader looks at first; the other columns follow in the order of the records.
_FIRST = (
    *("dataset", "backbone", "method", "fraction", "shots", "split_seed", "seed", "state"),
    *("reason", "metric", "val", "test", "labels", "trainable_params", "delta_bytes", "train_s"),
)


class Sweep:
    """Every combination of the given values: a list of cells, each one training run.

    A value is as on the command line: one, or a sequence, or a text with commas. What is left out
    has the default of `suite` (see `python -m benchmark list suites`), or of the default suite.

    Args:
        methods: specs such as "lora(rank=8)", or "my_module:MyMethod".
        datasets: names, or paths of a manifest.csv, a folder of classes, an .npz.
        backbones: names, or "timm:NAME", "random:NAME", "file:PATH@NAME", "hub:OWNER/NAME",
            "local-dir:PATH".
        fractions: label fractions in (0, 1] of the development images.
        seeds: training seeds (initialisation, batches, augmentation).
        runs: folder of the records; what is there already is not trained again.
        suite: a named grid, which the other arguments change.
        config: TOML file with the same names as these arguments.
        tune_budget: trials of every method, from the ranges that it declares.
        tuned_from: folder of records of such trials, whose best on validation gives the rates of
            cells that name none.
        until_converged: train each cell until its validation stops improving: `patience` is 5,
            `steps` at most 2,000 and `evaluations` 40 where they are not given.
        test_on: external data sets of the same classes, which what was trained is also scored on.
        peek: also measure what choosing the checkpoint on the test set would have gained.
        compile: `torch.compile` the blocks of each model.
        cuda_graph: send all kernels of a pass to the GPU at once; pays in small batches.
        deterministic: only kernels that give the same bits each time, which are slower on a GPU.
        gpu: whether the cells will run on a GPU, as the precision "auto" asks; None: as this
            machine has one. Jobs for GPUs are often planned on a host without.
        shots: images per class for training, as many for validation, instead of a fraction.
        split_seeds: seeds of the split into test, validation and training images.
        subset: training images of a fraction: "drawn" (in groups, by the split seed), or the
            "first" of each class, as published code often takes them.
        lr: learning rates; None: each method's own.
        head_lr: learning rate of the head; None: as `lr`, but at least 1e-3.
        weight_decay: of AdamW, on matrices.
        steps: optimiser steps; with `patience` at most so many.
        patience: train until so many evaluations in a row are no better, then as many more while
            the rate falls to 0; 0: all the steps, the same for every method.
        epochs: length in epochs instead of steps.
        batch_size: images in a batch.
        warmup: share of the steps with a rising learning rate.
        clip: largest norm of the gradient.
        evaluations: how often the validation set is scored; the best point is kept.
        image_size: side of the input in pixels; None: the backbone's own.
        augment: augmentation policies.
        views: fixed augmented views per image; 0: a fresh one in every step.
        balance: against class imbalance: "none", "loss", "sampler".
        output: of a classifier: "softmax" or "ordinal".
        precision: "auto", "fp32" or "bf16".

    Raises:
        InputError: an unknown name or a value that is not allowed; it names the argument.
    """

    def __init__(  # noqa: PLR0913 - each axis is typed and documented for editors
        self,
        methods: Values[str] = None,
        datasets: Values[str | Path] = None,
        backbones: Values[str] = None,
        fractions: Values[float] = None,
        seeds: Values[int] = None,
        *,
        runs: str | Path = "runs",
        suite: str | None = None,
        config: str | Path | None = None,
        tune_budget: int | None = None,
        tuned_from: str | Path | None = None,
        until_converged: bool = False,
        test_on: Values[str] = None,
        peek: bool = False,
        compile: bool = False,
        cuda_graph: bool = False,
        deterministic: bool = False,
        gpu: bool | None = None,
        shots: Values[int] = None,
        split_seeds: Values[int] = None,
        subset: Values[str] = None,
        lr: Values[float] = None,
        head_lr: Values[float] = None,
        weight_decay: Values[float] = None,
        steps: Values[int] = None,
        patience: Values[int] = None,
        epochs: Values[float] = None,
        batch_size: Values[int] = None,
        warmup: Values[float] = None,
        clip: Values[float] = None,
        evaluations: Values[int] = None,
        image_size: Values[int] = None,
        augment: Values[str] = None,
        views: Values[int] = None,
        balance: Values[str] = None,
        output: Values[str] = None,
        precision: Values[str] = None,
    ) -> None:
        from benchmark.sweep.grid import AXES, read_items
        from benchmark.sweep.suites import request

        arguments = locals()
        axes = {name: arguments[name] for name in AXES}
        self.runs = Path(runs)
        self._settings = Settings(peek, compile, cuda_graph, deterministic)
        self.gpu = gpu
        self.grids = request(
            axes,
            suite=suite,
            config=None if config is None else Path(config),
            budget=tune_budget,
            until_converged=until_converged,
        )
        if tuned_from is not None and tune_budget is not None:
            raise InputError("tune_budget tunes, and tuned_from takes what was tuned; give one")
        self.tuned_from = None if tuned_from is None else Path(tuned_from)
        if self.tuned_from and self.tuned_from.resolve() == self.runs.resolve():
            raise InputError(
                f"tuned_from names the runs folder {str(self.runs)!r} itself, in whose tables the "
                "trials would stand; train trials in a folder of their own"
            )
        self.test_on = () if test_on is None else read_items("test_on", test_on)

    def __repr__(self) -> str:
        return f"Sweep({', '.join(map(str, self.grids))}, runs={str(self.runs)!r})"

    @cached_property
    def _tuned(self) -> Tuned | None:
        from benchmark.sweep.tuning import read_chosen

        return None if self.tuned_from is None else read_chosen(self.tuned_from)

    @property
    def settings(self) -> Settings:
        """How cells are trained, where that is no part of what they are."""
        earlier = self._tuned.earlier if self._tuned else {}
        return replace(self._settings, earlier=earlier)

    @cached_property
    def _resolved(self) -> tuple[list[Cell], dict[str, str], tuple[str, ...]]:
        from benchmark.data import open_dataset, refuse_in_tree
        from benchmark.sweep.resolve import Resolver

        for spec in {spec for grid in self.grids for spec in grid.datasets}:
            refuse_in_tree(self.runs, spec, "the runs folder")
        resolver = Resolver() if self.gpu is None else Resolver(on_gpu=self.gpu)
        resolver.earlier = self._tuned
        cells = resolver.cells(self.grids)
        if self.test_on:
            from benchmark.trained import external

            names = dict.fromkeys(cell.dataset for cell in cells)
            trained = [open_dataset(resolver.sources.get(name, name)) for name in names]
            for other in map(open_dataset, self.test_on):
                resolver.notes += other.remarks()
                for dataset in trained:
                    external.check(dataset, other)
        return cells, resolver.sources, tuple(dict.fromkeys(resolver.notes))

    @property
    def cells(self) -> list[Cell]:
        """The cells, in order; the first use opens the data sets and reads fingerprints."""
        return self._resolved[0]

    def plan(
        self, *, executor: Executor = "inline", jobs: Jobs = None, only: str | None = None
    ) -> Plan:
        """Return which cells are to do, done, failed or unsupported, and what they should take.

        `executor`, `jobs` and `only` as in `run`.
        """
        from benchmark.execution.train import check_jobs, num_jobs
        from benchmark.sweep import estimate
        from benchmark.sweep.plan import plan

        check_jobs(executor, jobs)
        planned = plan(self.cells, self.runs)
        if only is not None:
            from slurm.queue import matching

            states = dict.fromkeys((c.slug for c in planned.todo), "todo")
            states |= dict.fromkeys((c.slug for c in planned.failed), "failed")
            chosen = matching(self.runs, states, only)
            todo, failed = (
                tuple(cell for cell in cells if cell.slug in chosen)
                for cells in (planned.todo, planned.failed)
            )
            planned = replace(planned, todo=todo, failed=failed)
        left = planned.left
        known = estimate.read(self.runs) if left else estimate.Estimate()
        pack, why = known.pack(left) if executor == "local" and jobs == "auto" else (1, "")
        forecast = estimate.Forecast(left, known, num_jobs(executor, jobs, len(left), pack))
        notes = (*self._resolved[2], *([why] * bool(why))) if left else ()
        return replace(planned, forecast=forecast, notes=notes)

    def run(
        self,
        executor: Executor = "inline",
        *,
        jobs: Jobs = None,
        slurm: str | Mapping[str, object] | Request = "",
        wait: bool = False,
        only: str | None = None,
    ) -> pd.DataFrame:
        """Train what is not done yet, and return the results of all cells, one row per cell.

        A cell that fails is a row with `state` "failed" and its `reason`; the others go on.

        Args:
            executor: "inline" trains in this process, "local" in several, "slurm" submits jobs.
            jobs: processes of the executor "local"; None: one on each GPU, or 2 without a GPU;
                "auto": on each GPU as many as records say that its memory holds, 1 to 3. Times of
                cells that share a GPU stay out of the efficiency table.
            slurm: what jobs ask for, such as {"partition": "gpu", "gpus_per_node": 1}; the fields
                of `slurm.executor.Request` may stand beside: {"max_parallel": 8}.
            wait: return when the Slurm queue is empty; what died without a result is sent again.
            only: of what is not done, only what "failed", ran out of memory ("oom") or was stopped
                by a time limit ("timeout") at its last attempt.

        Raises:
            InputError: a value that is not allowed, data that cannot be read, or no Slurm.
            DeviceLost: the GPU failed; no later cell of this process could be trained.
            KeyboardInterrupt: stopped after a step, with a checkpoint; run again to continue.
        """
        from benchmark.sweep.plan import write_plan

        if executor not in EXECUTORS:
            raise unknown("executor", executor, EXECUTORS)
        if executor != "slurm" and (slurm or wait):
            raise InputError(f"slurm and wait are for executor 'slurm', not {executor!r}")
        plan = self.plan(executor=executor, jobs=jobs, only=only)
        write_plan(self.cells, self.runs)
        if executor == "slurm":
            self._submit(slurm, wait=wait, only=only)
            if not wait:
                return self._results(_all_queued)
        elif plan.left:
            from benchmark.execution.train import train

            sources, forecast = self._resolved[1], plan.forecast
            train(plan.left, self.runs, sources, self.settings, forecast, executor=executor)
        self._score_external()
        return self.results()

    def _submit(
        self, asked: str | Mapping[str, object] | Request, *, wait: bool, only: str | None
    ) -> None:
        """Submit what is to do; with `wait`, again what died without a result."""
        from slurm import executor, queue

        request = executor.Request.of(asked)
        self._check_precision(request)
        for number in range(ROUNDS if wait else 1):
            planned = self.plan(executor="slurm", only=only if number == 0 else None)
            if todo := [*planned.todo, *(planned.failed if number == 0 else ())]:
                sent = executor.send(todo, self.runs, self._resolved[1], self.settings, request)
                sys.stdout.write(f"{sent}\n")
            if wait:
                queue.await_end(self.runs)

    def _check_precision(self, request: Request) -> None:
        """Refuse jobs for GPUs whose precision was decided by a machine without one.

        A hundred jobs in fp32 would take five times as long, and be other cells than those that
        the same sweep has on a GPU.
        """
        automatic = any("auto" in grid.precision for grid in self.grids)
        slow = any(cell.precision == "fp32" for cell in self.cells)
        if request.asked.gpus and self.gpu is None and automatic and slow:
            raise InputError(
                "the jobs ask for GPUs, and precision 'auto' was taken as fp32 because there is "
                "none here; write Sweep(gpu=True), which makes it bf16, or name the precision"
            )

    def _score_external(self) -> None:
        """Score what is trained on the other sets of the same classes."""
        if not self.test_on:
            return
        from benchmark.trained import external
        from benchmark.training.session import Session

        session = Session(self.runs / "cache", self._resolved[1], settings=self.settings)
        for spec in self.test_on:
            count = len(list(external.score(self.cells, session, self.runs, spec)))
            sys.stdout.write(f"{count} cells were tested on {spec}\n")

    def submission(
        self, slurm: str | Mapping[str, object] | Request = "", *, only: str | None = None
    ) -> str:
        """Return what `run(executor="slurm")` would submit: jobs, hours, the scripts for sbatch."""
        from slurm import executor

        left = self.plan(executor="slurm", only=only).left
        if not left:
            return "nothing is to do"
        request = executor.Request.of(slurm)
        sources = self._resolved[1]
        return executor.describe(executor.order(left, self.runs, sources, self.settings, request))

    def results(self) -> pd.DataFrame:
        """Return one row per cell, as `benchmark.results` does, finished or not.

        `state` is also "to do", "running" or "queued", and "unreadable" where the record of a
        finished cell cannot be used; `reason` says why.
        """
        from slurm.queue import ask_queue

        return self._results(ask_queue)

    def _results(self, ask_queue: AskQueue) -> pd.DataFrame:
        import pandas as pd

        from benchmark.execution.status import LABELS, survey
        from results import frame

        cells = {cell.key: cell for cell in self.cells}
        try:
            loaded = frame.load([self.runs], set(cells))
            rows, faults = loaded.rows, loaded.faults
        except InputError as error:  # no cell has ended, or no record can be read
            rows, faults = pd.DataFrame({"key": []}), (str(error),)
        status = survey(self.runs, ask_queue)
        unfinished = []
        for key, cell in cells.items():
            if key in set(rows["key"]):
                continue
            folder = cell.folder(self.runs)
            state = status.states.get(folder, "todo")
            reason = status.notes.get(folder, "")
            if state == "done":
                reason = next((f for f in faults if cell.slug in f), "its record cannot be read")
            state = "unreadable" if state == "done" else LABELS.get(state, state)
            row = {**cell.values(), "key": key, "folder": str(folder)}
            unfinished.append({**row, "state": state, "reason": reason})
        if unfinished:
            rows = pd.concat([rows, pd.DataFrame(unfinished)], ignore_index=True)
        place = {key: number for number, key in enumerate(cells)}
        return _tidy(rows.iloc[rows["key"].map(place).argsort()])

    def report(self, out: str | Path | None = None, **options: Any) -> Report:
        """Return the tables and figures of this sweep's cells; arguments as in `report`."""
        return report(self.runs, out, keys={cell.key for cell in self.cells}, **options)

    def status(self) -> Status:
        """Return the state of every cell of the runs folder, from the disk and the Slurm queue."""
        from benchmark.execution.status import survey
        from slurm.queue import ask_queue

        return survey(self.runs, ask_queue)

    def cancel(self) -> int:
        """Take all Slurm jobs of the runs folder out of the queue, and return how many.

        Nothing that is done is lost; `run` continues from the checkpoints.
        """
        from slurm import queue

        return queue.cancel(self.runs)


def results(runs: str | Path | Sequence[str | Path] = "runs") -> pd.DataFrame:
    """Return all results below one or more folders as a tidy table: one row per cell.

    The columns a reader looks at first stand first; `val` and `test` are the scores of the cell's
    own `metric`, all others are `val_NAME` and `test_NAME`, as fractions. Costs have their unit in
    the name. A record that cannot be used is left out with a warning.

    Raises:
        InputError: for a folder that does not exist, or no record at all.
    """
    from results import frame

    loaded = frame.load(_folders(runs))
    for fault in loaded.faults:
        warnings.warn(fault, stacklevel=2)
    return _tidy(loaded.rows)


def report(
    runs: str | Path | Sequence[str | Path] = "runs",
    out: str | Path | None = None,
    *,
    keys: Collection[str] | None = None,
    **options: Any,
) -> Report:
    """Return tables (pandas DataFrames) and figures (matplotlib Figures) of results.

    Args:
        runs: one or more folders of records, or CSV files of scores of others with the columns
            method, dataset, seed, metric and score (or percent).
        out: folder to write everything into; None: nothing is written.
        keys: of the cells to report; None: all.
        options: fields of `results.Options`, such as `metric="auc"` or `against="full"`.

    Raises:
        InputError: for no record at all, or an unknown option, metric or method.
    """
    from dataclasses import fields

    from benchmark.sweep.grid import flags_of
    from benchmark.training import citations
    from results import reporting

    known = [field.name for field in fields(reporting.Options)]
    for name in options:
        if name not in known:
            raise unknown("option of report", name, known)
    known_here: dict[str, Any] = {
        "lookup": citations.lookup,
        "display": citations.display,
        "family": citations.family,
        "command": flags_of,
    }
    chosen = reporting.Options(**{**known_here, **options})
    folder = None if out is None else Path(out)
    return reporting.report(_folders(runs), folder, keys=keys, options=chosen)


def load(
    cell: str | Path,
    runs: str | Path = "runs",
    *,
    weights: str | None = None,
    allowed: Sequence[str] = (),
) -> Trained:
    """Return a trained cell: `.predict(images)` gives classes, `.masks(images)` segmentations.

    Args:
        cell: its folder (the column `folder` of results), or the first digits of its key.
        runs: where a key is looked for.
        weights: the backbone as the cell was trained, where its name is no source of weights.
        allowed: methods of your own (`MODULE:CLASS`) that may be imported for it.

    Raises:
        InputError: no such cell, other weights than it was trained on, or a damaged delta.
    """
    from benchmark import trained

    return trained.load(trained.find(str(cell), Path(runs)), weights, allowed=allowed)


def audit(
    methods: str | Sequence[str], backbones: str | Sequence[str] | None = None, *, jobs: int = 1
) -> pd.DataFrame:
    """Return what the audit says of methods on families of backbones, one row per pair.

    Columns: `method`, `family`, `state` ("pass", "n/a" or "fail"), `reason` (all that is wrong).

    Args:
        methods: specs, yours as "my_module:MyMethod".
        backbones: families such as "vit", "swin"; None: all.
        jobs: processes that share the work.

    Raises:
        InputError: an unknown method or family.
    """
    import pandas as pd

    from benchmark import auditing
    from benchmark.sweep.grid import read_items

    specs = read_items("methods", methods)
    families = None if backbones is None else read_items("backbones", backbones)
    verdicts = auditing.audit(specs, families, jobs=jobs)
    rows = [(v.method, v.family, v.state, "; ".join(v.reasons)) for v in verdicts]
    return pd.DataFrame(rows, columns=["method", "family", "state", "reason"])


def _all_queued(status: Status) -> None:
    """Note without asking Slurm what was submitted a moment ago."""
    for folder, state in status.states.items():
        if state == "todo":
            status.states[folder] = "queued"


def _folders(runs: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(runs)] if isinstance(runs, str | Path) else [Path(folder) for folder in runs]


def _tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the frame with `val`, `test` and `reason`, and the first columns first."""
    from benchmark.execution.status import reason_of

    rows = rows.reset_index(drop=True)
    for part in ("val", "test"):
        rows[part] = [
            row.get(f"{part}_{row['metric']}") if row["state"] == "done" else None
            for row in rows.to_dict("records")
        ]
        rows[part] = rows[part].astype(float)
    known = rows["reason"].fillna("").tolist() if "reason" in rows else [""] * len(rows)
    mark = {"failed": "failed", "n/a": "unsupported"}
    rows["reason"] = [
        reason_of(Path(folder), mark[state]) if state in mark else reason
        for state, folder, reason in zip(rows["state"], rows["folder"], known, strict=True)
    ]
    first = [name for name in _FIRST if name in rows]
    scores = [name for name in rows if name.startswith(("test_", "val_"))]
    rest = [name for name in rows if name not in {*first, *scores}]
    return rows[[*first, *sorted(scores), *rest]]
