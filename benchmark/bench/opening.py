"""Preparing and opening a data set: what a sweep pays before its first step.

Decoding is timed with all pixels in one process, with reduced JPEG decoding, and as `run` does it,
in a pool. Opening is timed in processes of their own, as the jobs of a cluster are: the first time,
when every file is read; again, when what was learned of the files is known; and from the sealed
index, which asks no file for anything.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from PIL import Image

from benchmark.bench import inputs, timing
from benchmark.bench.timing import Estimate, Watch
from benchmark.data import Dataset, cache, decoded, open_dataset
from benchmark.data.base import many
from benchmark.data.readers.digests import FRESH_S

SIDE = 224  # of what is kept
FILE_SIDE = 1024  # of the JPEG files: fundus and chest photographs have as many pixels, or more
WAYS = ("first time", "files known", "sealed index")


@dataclass(frozen=True)
class Preparing:
    """One way to decode: images per second, and how many times as fast as all pixels at once."""

    name: str
    images_per_s: float
    over_whole: Estimate


@dataclass(frozen=True)
class Opening:
    """Seconds to open `rows` images in one of `WAYS`, imports not counted."""

    name: str
    rows: int
    seconds: float


def prepare(folder: Path, count: int, watch: Watch) -> list[Preparing]:
    """Return the rates of decoding `count` JPEG files to S x S, by the wall clock.

    Fewer than `cache.POOL_FROM` images are decoded in one process, whatever the way.
    """
    dataset = open_dataset(str(inputs.write_jpegs(folder / "photographs", count, FILE_SIDE)))
    alone = replace(dataset, files=())  # only sets of files are decoded in a pool
    processes = len(os.sched_getaffinity(0)) if count >= cache.POOL_FROM else 1
    ways = {
        "all pixels, 1 process": replace(alone, read_image=lambda i: dataset.read_image(i)),
        "reduced JPEG, 1 process": alone,
        f"as `run` does: reduced, {many(processes, 'process', 'processes')}": dataset,
    }
    place = folder / "decoded"

    def action(data: Dataset) -> Callable[[], None]:
        def decode() -> None:
            shutil.rmtree(place, ignore_errors=True)
            decoded(data, SIDE, place)

        return decode

    wall = Watch(watch.device, watch.rounds, 1)
    seconds = timing.interleaved({name: action(data) for name, data in ways.items()}, wall)
    first = next(iter(ways))
    return [
        Preparing(name, count / median(found), timing.ratios(seconds, first, name))
        for name, found in seconds.items()
    ]


def open_rows(folder: Path, count: int) -> list[Opening]:
    """Return the seconds to open a folder of `count` tiny pictures, each way in a new process."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    for name in "ab":
        (folder / "rows" / name).mkdir(parents=True)
    for number in range(count):
        (folder / "rows" / "ab"[number % 2] / f"{number:07}.png").write_bytes(stream.getvalue())
    time.sleep(FRESH_S)  # what is learned of younger files is not kept
    # a cache of its own: the user's would hold facts of files that are gone in a minute
    environment = os.environ | {"BENCHMARK_CACHE": str(folder / "facts")}
    found, fingerprint = [], ""
    for way in WAYS:
        order = json.dumps([str(folder), fingerprint if way == WAYS[-1] else ""])
        command = [sys.executable, "-m", "benchmark.bench.open_once", order]
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        seconds, fingerprint = answer.stdout.split()
        found.append(Opening(way, count, float(seconds)))
    return found
