"""Records: one JSON per finished cell, written last and atomically, read strictly."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from benchmark.core.cell import Cell
from benchmark.core.files import RECORD, RESCORED, read_json, write_json
from benchmark.core.numbers import FromZero, Number
from benchmark.core.registry import InputError
from benchmark.core.typed import typed

SCHEMA = 1
Scores = dict[str, float | None]
Amount = Annotated[float, Number(float, least=0)]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a cell cost.

    `trainable_params` are those of the method, `head_params` of the head, `total_params` of the
    attached body, `backbone_params` of the bare one. `delta_bytes` is the file that the trained
    model is restored from, `full_bytes` what a copy of the whole model would take. `train_s` is the
    time of training with its validation and of what the method chose by images before, `peak_mib`
    the largest memory (of the GPU; without one, of the process); `reserved_mib` is what torch took
    of the GPU, with what is kept for other cells and what evaluation grew into, which depends on
    what was free; `host_mib` is the peak of the process on the host. `micro_batch` images went
    through the model at once: statistics of a batch norm that moves are theirs, not those of the
    batch. `steps_done` are the steps of the optimiser, which until converged are fewer than the
    cell allows. The method adds `inserted_tokens` to the `image_tokens` that meet in one attention.
    0 of those with a default: older records lack them, or there is none.
    """

    trainable_params: FromZero
    head_params: FromZero
    total_params: FromZero
    backbone_params: FromZero
    delta_bytes: FromZero
    full_bytes: FromZero
    train_gflop_per_image: Amount
    train_s: Amount
    images_per_s: Amount
    peak_mib: Amount
    reserved_mib: Amount = 0.0
    host_mib: Amount = 0.0
    micro_batch: FromZero = 0
    steps_done: FromZero = 0
    image_tokens: FromZero = 0
    inserted_tokens: FromZero = 0


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The images that a cell used, and what the card of its data set says of them.

    `labels_used` is the number of labelled images that training and choices saw: `train` + `val`.
    `groups_test` counts patients, volumes or whatever must not be parted. `metric` is what chose
    the step. `display` is the name of the data set for readers; `grouping` and `group_note` say
    where its groups come from, and what a reader must know of that. `definitions` is the version
    of the metrics (`benchmark.scores.VERSION`). `reading` holds the keys of a dataset.toml that
    changed how images were read: new ones are read alike.
    """

    labels_used: FromZero
    metric: str
    synthetic: bool
    train: FromZero = 0
    val: FromZero = 0
    test: FromZero = 0
    groups_test: FromZero = 0
    classes: tuple[str, ...] = ()
    task: Literal["classification", "multilabel", "segmentation", ""] = ""
    ordinal: bool = False
    display: str = ""
    grouping: str = ""
    group_note: str = ""
    definitions: FromZero = 1
    reading: dict[str, Any] = field(default_factory=dict)


class Origin(TypedDict, total=False):
    """Whose work a data set, backbone or method is; what is not known is absent or empty."""

    citation: str
    works: list[dict[str, Any]]  # of `Citation.to_json`
    licence: str
    url: str


class Earlier(TypedDict):
    """Trials of another runs folder that chose what a cell trains with (`--tuned-from`).

    `trials` are the settings tried, `runs` the cells trained for it and `train_s` their time;
    `rates` are the learning rates tried, ascending; the rest is what those cells were.
    """

    trials: int
    runs: int
    train_s: float
    rates: list[float]
    fractions: list[float]
    seeds: list[int]
    steps: list[int]


class Calibration(TypedDict):
    """How many training images a method chose by before its first step, and how long it took."""

    images: int
    seconds: float


class Provenance(TypedDict, total=False):
    """Where a number comes from; more than this may be in it."""

    git_sha: str | None
    git_dirty: bool | None
    packages: dict[str, str]
    hardware: dict[str, Any]
    created: str
    preprocessing: dict[str, Any]
    cached_features: bool
    compiled: bool
    cuda_graph: bool
    trained_together: int
    processes_per_gpu: int  # that trained on it at once, with times longer than alone; absent: 1
    earlier: Earlier
    calibration: Calibration
    sources: dict[str, Origin]
    delta: str  # SHA-256 of the cell's delta.safetensors
    search_space: dict[str, dict[str, Any]]  # of the method: low, high and source by name


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one cell measured; units are in the names (`train_s`, `peak_mib`, `delta_bytes`)."""

    cell: Cell
    data: DataSummary
    selected_step: FromZero
    val: Scores
    test: Scores
    history: list[Scores]
    cost: Cost
    provenance: Provenance = field(default_factory=Provenance)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, with `schema` and `key` first."""
        return {"schema": SCHEMA, "key": self.cell.key, **asdict(self)}


def write_record(folder: Path, record: Record) -> Path:
    """Write the record of a finished cell into its folder and return the path."""
    write_json(folder / RECORD, record.to_json())
    return folder / RECORD


def touch(folder: Path) -> None:
    """Move the time of a cell's record by a microsecond: something was added beside it.

    Who keeps what records say (`results.index`) sees by this time that it must look again.
    """
    status = (folder / RECORD).stat()
    os.utime(folder / RECORD, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))


def read_record(path: Path) -> Record:
    """Return the record in `path`.

    Raises:
        InputError: a truncated file, another schema, a field of the wrong type, or a key that does
            not fit the cell.
    """
    values = read_json(path, "delete it to train the cell again")
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int or schema != SCHEMA:  # JSON's true equals 1
        raise InputError(
            f"{path} has record schema {schema!r}, this version reads {SCHEMA}; "
            "report it with the version that wrote it, or move it away"
        )
    try:
        record = typed(Record, {n: v for n, v in values.items() if n not in _FRAME}, "")
    except InputError as error:
        raise InputError(f"{path} is not a record of this schema: {error}; move it away") from None
    if values.get("key") != record.cell.key:
        raise InputError(
            f"{path} was edited: its key {values.get('key')!r} is not its cell's "
            f"{record.cell.key!r}"
        )
    return record


_FRAME = ("schema", "key")  # of a file, beside the fields of its record


def read_rescored(path: Path) -> dict[str, Scores]:
    """Return the later scores {"val": ..., "test": ...} beside the record `path`; none: empty."""
    beside, again = path.parent / RESCORED, "run `report --rescore` again"
    if not beside.exists():
        return {"val": {}, "test": {}}
    values = read_json(beside, again)
    try:
        parts = typed(dict[str, Any], values, "")
        return {part: typed(dict[str, float | None], parts[part], part) for part in _SPLITS}
    except (InputError, KeyError) as error:
        raise InputError(f"{beside} is not whole ({error}); {again}") from None


_SPLITS = ("val", "test")


def add_rescored(record: Record, path: Path, outdated: Collection[str] = ()) -> None:
    """Add the later scores beside the record `path`; of its own they replace the `outdated`."""
    later = read_rescored(path)
    for scores, found in ((record.val, later["val"]), (record.test, later["test"])):
        scores.update({n: v for n, v in found.items() if n not in scores or n in outdated})


def find_records(runs: Path) -> Iterator[Path]:
    """Yield the paths of all records below `runs`, sorted."""
    yield from sorted(runs.rglob(RECORD))


def read_records(runs: Path) -> tuple[list[Record], list[str]]:
    """Return (good records, one sentence per bad one): a bad file never hides the good ones."""
    records, faults = [], []
    for path in find_records(runs):
        try:
            record = read_record(path)
            add_rescored(record, path)
            records.append(record)
        except InputError as error:
            faults.append(str(error))
    return records, faults
