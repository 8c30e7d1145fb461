"""Decoded images at one size, kept as memory-mapped uint8 arrays that all processes share.

Rows are decoded when a plan needs them, by a pool of processes that write into the rows' places.
What is done is noted with a checksum of each row: a killed run goes on where it was, and whoever
opens the arrays later compares a sample instead of reading all of them.

Legend: n images of the set, S side, C channels (1 while all decoded images are grey, else 3).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from benchmark.core.files import read_json, write_text
from benchmark.core.registry import InputError
from benchmark.data.base import Dataset
from benchmark.data.readers.images import resize

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
VERSION = 3  # of the decoding: a change of `resize` or of `reduced` must change it
POOL_FROM = 256  # missing rows: for fewer, starting processes takes longer than decoding
MOST_PROCESSES = 64
CHUNK = 32  # rows of one task
SAMPLE = 64  # rows whose checksum is compared when the arrays are opened
FLUSH_S = 5.0  # between two notes of what is done: a kill loses no more
TELL_S = 5.0  # of waiting, before it says for whom
STALE_S = 120.0  # without a sign of the process that decodes: others take over


@dataclass(frozen=True)
class Arrays:
    """`images` (n, S, S, C) and, in segmentation, `masks` (n, S, S); uint8, read-only.

    Rows that were not asked for may be zeros.
    """

    images: np.ndarray
    masks: np.ndarray | None


def decoded(dataset: Dataset, size: int, root: Path, rows: np.ndarray | None = None) -> Arrays:
    """Return the images squashed to `size` x `size`, each decoded once per content and size.

    `rows` are those that must be there (left out: all). The cache below `root` is keyed by the data
    fingerprint; a damaged one is made again. Where C depends on which rows were decoded, the
    numbers of a cell may differ by rounding.

    Raises:
        InputError: an image that cannot be read, or no room to write to.
    """
    folder = root / f"{dataset.card.name}-{dataset.fingerprint}-{size}-v{VERSION}"
    wanted = np.arange(len(dataset)) if rows is None else np.unique(rows)
    while True:
        kept = _opened(dataset, size, folder)
        if kept is not None and (kept.sums[wanted] != 0).all():
            return kept.arrays
        with _locked(dataset, size, folder) as ours:
            if ours:  # else the other process may have decoded the rows: look again
                _complete(dataset, size, folder, wanted)


class _Kept(NamedTuple):
    """An opened cache; `sums` (n,) uint32 are checksums of the rows, 0 where one is missing."""

    arrays: Arrays
    sums: np.ndarray


def _opened(dataset: Dataset, size: int, folder: Path) -> _Kept | None:
    """Return the cache, or None where there is none or where a sample of it is damaged."""
    count = len(dataset)
    try:
        meta = read_json(folder / "meta.json", "")
        images = np.load(folder / "images.npy", mmap_mode="r")
        masks = np.load(folder / "masks.npy", mmap_mode="r") if dataset.read_mask else None
        sums = np.load(folder / "sums.npy")
        fits = meta == {"count": count, "size": size} and sums.shape == (count,)
        fits &= images.shape[:3] == (count, size, size) and images.shape[3:] in ((1,), (3,))
        fits &= masks is None or masks.shape == (count, size, size)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not fits:
        return None
    done = np.flatnonzero(sums)
    # another sample in each process: what rots in one place is soon met by somebody
    chosen = np.random.default_rng().choice(done, min(SAMPLE, len(done)), replace=False)
    for row in np.sort(chosen):
        if _row_sum(images[row], None if masks is None else masks[row]) != sums[row]:
            return None
    return _Kept(Arrays(images, masks), sums)


def _row_sum(image: np.ndarray, mask: np.ndarray | None) -> int:
    """Return the checksum of a row, never 0. A grey image has one sum, whatever C of the file."""
    grey = image[..., :1] if (image == image[..., :1]).all() else image
    value = zlib.crc32(grey.tobytes())
    if mask is not None:
        value = zlib.crc32(mask.tobytes(), value)
    return value or 1


@contextlib.contextmanager
def _locked(dataset: Dataset, size: int, folder: Path) -> Iterator[bool]:
    """Make this process the only one that decodes into `folder`, or wait for the other one.

    Yields whether it is ours. The other one shows by the time of its file that it lives; times are
    only compared with each other, because the clocks of two machines differ.
    """
    lock = folder.parent / f".{folder.name}.lock"
    name = f"{socket.gethostname()} {os.getpid()}"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(dataset, size, folder, error) from None
    try:
        stream = lock.open("x")
    except FileExistsError:
        _wait(lock)
        yield False
        return
    except OSError as error:
        raise _unwritable(dataset, size, folder, error) from None
    try:
        with stream:
            stream.write(name)
    except OSError as error:
        # a full disk leaves an empty one, for which everybody would wait
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
        raise _unwritable(dataset, size, folder, error) from None
    try:
        yield True
    finally:
        lock.unlink(missing_ok=True)


def _wait(lock: Path) -> None:
    """Return when the lock is gone; take it away where its process is dead."""
    seen, since = -1, time.monotonic()
    tells_at = since + TELL_S
    while True:
        try:
            state, owner = lock.stat(), lock.read_text().split()
        except OSError:
            return
        if state.st_mtime_ns != seen:
            seen, since = state.st_mtime_ns, time.monotonic()
        here = len(owner) == 2 and owner[0] == socket.gethostname() and owner[1].isdecimal()
        dead = False
        if here:  # of another machine nothing is known but the time of its file
            try:
                os.kill(int(owner[1]), 0)
            except ProcessLookupError:
                dead = True
            except OSError:  # of another user: it is there
                pass
        if dead or time.monotonic() - since > STALE_S:
            lock.unlink(missing_ok=True)
            return
        if time.monotonic() > tells_at:
            who = f"process {owner[1]} on {owner[0]}" if len(owner) == 2 else "another process"
            sys.stderr.write(f"waiting for {who}, which decodes the same images ({lock})\n")
            tells_at = math.inf
        time.sleep(0.1)


def _complete(dataset: Dataset, size: int, folder: Path, wanted: np.ndarray) -> None:
    """Decode what is missing of `wanted`; nothing new is left where a file cannot be read."""
    kept = _opened(dataset, size, folder)
    created = kept is None
    try:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
            _create(dataset, size, folder)
            kept = _opened(dataset, size, folder)
            assert kept is not None
        _Writer(dataset, size, folder, kept.sums).fill(wanted)
    except InputError:
        if created:  # the mended file will be other data, under another name
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except OSError as error:
        if created:
            shutil.rmtree(folder, ignore_errors=True)
        if error.errno not in _NO_ROOM and not isinstance(error, PermissionError):
            raise
        raise _unwritable(dataset, size, folder, error) from None


def _create(dataset: Dataset, size: int, folder: Path) -> None:
    """Make files of the final size without content; `meta.json` is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(dataset)
    # one channel to begin with: grey sets take a third of the room, and reading them of the time
    _empty(folder / "images.npy", (count, size, size, 1))
    if dataset.read_mask is not None:
        _empty(folder / "masks.npy", (count, size, size))
    np.save(folder / "sums.npy", np.zeros(count, np.uint32))
    write_text(folder / "meta.json", json.dumps({"count": count, "size": size}))


def _empty(path: Path, shape: tuple[int, ...]) -> None:
    """Write an array of zeros that takes no room yet."""
    with path.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + int(np.prod(shape)))


def _unwritable(dataset: Dataset, size: int, folder: Path, error: OSError) -> InputError:
    channels = 3 if dataset.read_mask is None else 4
    needed = len(dataset) * size * size * channels / 2**20
    return InputError(
        f"cannot write decoded images to {str(folder.parent)!r} ({error.strerror}); they take "
        f"{needed:.0f} MiB: free some space there, or name another folder with --runs"
    )


@dataclass
class _Writer:
    """Fills the rows of one cache; `sums` is what is known of them."""

    dataset: Dataset
    size: int
    folder: Path
    sums: np.ndarray

    def fill(self, wanted: np.ndarray) -> None:
        """Decode the missing rows of `wanted`, and note which are done every few seconds."""
        flushed = time.monotonic()
        lock = self.folder.parent / f".{self.folder.name}.lock"
        try:
            while len(missing := wanted[self.sums[wanted] == 0]):
                channels = np.load(self.folder / "images.npy", mmap_mode="r").shape[3]
                coloured = False
                for result in self._results(missing, channels):
                    self.sums[result.rows] = result.sums
                    coloured |= result.coloured
                    if time.monotonic() - flushed > FLUSH_S:
                        self._flush()
                        flushed = time.monotonic()
                    with contextlib.suppress(OSError):
                        lock.touch()
                    if coloured:
                        break
                if coloured:
                    self._flush()
                    self._widen()
        finally:
            self._flush()

    def _results(self, missing: np.ndarray, channels: int) -> Iterator[_Result]:
        """Yield what became of each chunk: the first here, so that colour shows at once."""
        chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        task = _Task(self.dataset, self.size, self.folder)
        processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, len(chunks))
        # sets without a file for each image read from handles that processes cannot share
        if len(missing) < POOL_FROM or processes < 2 or not self.dataset.files:
            yield from (task(chunk, channels) for chunk in chunks)
            return
        yield task(chunks[0][:1], channels)
        context = multiprocessing.get_context("fork")  # readers are closures: nothing pickles them
        with ProcessPoolExecutor(processes, context, _begin, (task,)) as pool:
            ahead = iter(chunks)
            try:
                # two chunks a process: enough to keep all busy, and few results wait in memory
                running = {pool.submit(_run, c, channels) for c in islice(ahead, 2 * processes)}
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                        if (chunk := next(ahead, None)) is not None:
                            running.add(pool.submit(_run, chunk, channels))
            except BrokenProcessPool:
                raise InputError(
                    f"a process that decoded {self.dataset.card.name!r} was killed, most likely "
                    "for lack of memory; run again with fewer CPUs, it goes on where it was"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)

    def _flush(self) -> None:
        """Note what is done, once it is on the disk."""
        # in this order: after a crash, a row that is noted as done must be there
        for name in ("images.npy", "masks.npy"):
            if (self.folder / name).exists():
                with (self.folder / name).open("rb") as stream:
                    os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):
            part = self.folder / "sums.part.npy"
            np.save(part, self.sums)
            part.replace(self.folder / "sums.npy")

    def _widen(self) -> None:
        """Give the images three channels; who has the old file mapped keeps it."""
        old = np.load(self.folder / "images.npy", mmap_mode="r")
        part = self.folder / "images.part.npy"
        _empty(part, (*old.shape[:3], 3))
        with part.open("r+b", buffering=0) as stream:
            first = _start(stream)
            for row in map(int, np.flatnonzero(self.sums)):
                _put(stream, first, row, np.repeat(old[row], 3, -1))
        part.replace(self.folder / "images.npy")


class _Result(NamedTuple):
    """Rows that were written, their checksums, and whether one was left out for its colours."""

    rows: list[int]
    sums: list[int]
    coloured: bool


@dataclass(frozen=True)
class _Task:
    """Decodes rows and writes them into their places."""

    dataset: Dataset
    size: int
    folder: Path

    def __call__(self, rows: np.ndarray, channels: int) -> _Result:
        """Return what was written; coloured images are left out where there is one channel."""
        written, sums, coloured = [], [], False
        read = self.dataset.read_image
        if hasattr(read, "reduced"):
            read = partial(read.reduced, side=self.size)
        with contextlib.ExitStack() as stack:
            images = stack.enter_context((self.folder / "images.npy").open("r+b", buffering=0))
            first, masks, first_mask = _start(images), None, 0
            if self.dataset.read_mask is not None:
                masks = stack.enter_context((self.folder / "masks.npy").open("r+b", buffering=0))
                first_mask = _start(masks)
            for row in map(int, rows):
                image = resize(read(row), self.size)
                if channels == 1 and (image != image[..., :1]).any():
                    coloured = True
                    break
                _put(images, first, row, image[..., :channels])
                mask = None
                if masks is not None and self.dataset.read_mask is not None:
                    mask = resize(self.dataset.read_mask(row), self.size, nearest=True)
                    _put(masks, first_mask, row, mask)
                written.append(row)
                sums.append(_row_sum(image, mask))
        return _Result(written, sums, coloured)


def _start(stream: BinaryIO) -> int:
    """Return where the values of an array file begin."""
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    return stream.tell()


def _put(stream: BinaryIO, start: int, row: int, values: np.ndarray) -> None:
    """Write one row of an array of bytes into its place, as a plain write.

    A memory map on a full disk would kill the process.
    """
    content = memoryview(np.ascontiguousarray(values, np.uint8).tobytes())
    place = start + row * len(content)
    while content:
        # a write may take a part only, on a network or a disk that is nearly full
        written = os.pwrite(stream.fileno(), content, place)
        content, place = content[written:], place + written


_task: _Task | None = None  # of a process of the pool


def _begin(task: _Task) -> None:
    """Keep the task of this process, which lives no longer than the one that made it."""
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, signal.SIG_DFL)  # not what the parent does to save a training
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, on Linux


def _run(rows: np.ndarray, channels: int) -> _Result:
    assert _task is not None
    return _task(rows, channels)


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file, read in blocks."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
