"""Opening and decoding large sets: only what is needed, in a pool, resumed, from a sealed index."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.core.registry import InputError
from benchmark.data import cache, decoded, open_dataset, sealed
from benchmark.data.readers.images import resize


def photographs(folder, count, side=16, kind="png"):
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i:04}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(values).save(path)
    return open_dataset(str(folder))


def counted(dataset, stop_at=10**9):
    """Return the data set, and the list of rows that are read of it."""
    rows = []

    def read(index):
        if len(rows) == stop_at:
            raise KeyboardInterrupt
        rows.append(index)
        return dataset.read_image(index)

    return replace(dataset, read_image=read), rows


def test_only_rows_that_are_asked_for_are_decoded_and_each_once(tmp_path):
    dataset, rows = counted(photographs(tmp_path / "data", 40))
    first = decoded(dataset, 8, tmp_path / "cache", np.array([3, 7, 20]))
    assert rows == [3, 3, 7, 20]  # the first one shows that there is colour
    second = decoded(dataset, 8, tmp_path / "cache", np.array([7, 8]))
    assert rows == [3, 3, 7, 20, 8]
    assert np.array_equal(first.images[7], resize(dataset.read_image(7), 8))
    assert np.array_equal(second.images[8], resize(dataset.read_image(8), 8))
    assert not second.images[9].any()


def test_an_interrupted_decoding_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 4)
    data = photographs(tmp_path / "data", 24)
    dataset, _ = counted(data, stop_at=15)
    with pytest.raises(KeyboardInterrupt):
        decoded(dataset, 8, tmp_path / "cache")
    again, left = counted(data)
    images = decoded(again, 8, tmp_path / "cache").images
    assert len(left) <= 24 - 12
    assert all(np.array_equal(images[i], resize(data.read_image(i), 8)) for i in range(24))


def test_a_pool_writes_what_one_process_writes(tmp_path, monkeypatch):
    data = photographs(tmp_path / "data", 24)
    one = np.array(decoded(data, 8, tmp_path / "one").images)
    monkeypatch.setattr(cache, "POOL_FROM", 2)
    monkeypatch.setattr(cache, "CHUNK", 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    assert np.array_equal(decoded(data, 8, tmp_path / "pool").images, one)
    broken = sorted((tmp_path / "data").rglob("*.png"))[15]
    broken.write_bytes(broken.read_bytes()[:90])
    with pytest.raises(InputError, match=broken.name):
        decoded(open_dataset(str(tmp_path / "data")), 8, tmp_path / "broken")
    assert list((tmp_path / "broken").iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from dataclasses import replace
from benchmark.data import cache, decoded, open_dataset
cache.FLUSH_S, cache.CHUNK = 0.0, 2
data = open_dataset(sys.argv[1])
seen = []
def read(index):
    seen.append(index)
    if len(seen) > 9:
        print("waits", flush=True)
        time.sleep(60)
    return data.read_image(index)
decoded(replace(data, read_image=read), 8, Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_its_rows_and_its_lock_is_taken(tmp_path):
    data = photographs(tmp_path / "data", 12)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(tmp_path / "cache")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    dataset, rows = counted(data)
    begun = time.monotonic()
    images = decoded(dataset, 8, tmp_path / "cache").images
    assert time.monotonic() - begun < cache.STALE_S / 2
    assert 0 < len(rows) < 12
    assert all(np.array_equal(images[i], resize(data.read_image(i), 8)) for i in range(12))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_sealed_index_is_the_set_without_its_files(tmp_path):
    data = photographs(tmp_path / "data", 6)
    sealed.seal(data, tmp_path / "cache")

    def never():
        raise AssertionError("the files were opened")

    name, fingerprint = data.card.name, data.fingerprint
    again = sealed.opened(name, fingerprint, tmp_path / "cache", never)
    for field in ("card", "ids", "groups", "splits", "fingerprint", "files", "volumes", "notes"):
        assert getattr(again, field) == getattr(data, field), field
    assert np.array_equal(again.labels, data.labels)
    assert sealed.opened(name, "other", tmp_path / "cache", never) is None
    reading = sealed.opened(name, fingerprint, tmp_path / "cache", lambda: data)
    assert np.array_equal(reading.read_image(2), data.read_image(2))
    other = photographs(tmp_path / "other", 4)
    changed = sealed.opened(name, fingerprint, tmp_path / "cache", lambda: other)
    with pytest.raises(InputError, match="changed since the sweep was planned"):
        changed.read_image(0)
    place = sealed.place_of(name, fingerprint, tmp_path / "cache")
    place.write_text(place.read_text().replace("0001", "0009"))
    assert sealed.opened(name, fingerprint, tmp_path / "cache", never) is None


def test_an_archive_is_never_held_in_memory_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    block = np.random.default_rng(0).integers(0, 4, (400, 96, 96, 3), np.uint8)
    labels = np.arange(400)[:, None] % 2
    arrays = {f"{part}_images": block for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": labels for part in ("train", "val", "test")}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    tracemalloc.start()
    dataset = open_dataset(str(tmp_path / "a.npz"))
    decoded(dataset, 32, tmp_path / "decoded", np.arange(0, 1200, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # one block of hashing, or of copying: not the 31 MiB of images, let alone twice
    assert peak < 3 * block.nbytes / 2
