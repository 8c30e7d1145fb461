"""Runs folders and caches are shared by groups: files get the rights that plain ones have."""

import os
import stat

import numpy as np
import pytest
import torch

from benchmark.backbones import weights
from benchmark.core.files import write_json
from benchmark.data import decoded, open_dataset
from benchmark.training.kept import store


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775)])
def test_others_may_read_what_one_wrote(tmp_path, mask, file, folder):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "record.json", {})
        weights._store(tmp_path / "w.safetensors", {"x": torch.zeros(2)})
        values = store.Features(np.zeros((2, 3), np.float32), [[3]])
        store.write(tmp_path / "features", values)
        decoded(open_dataset("phantom_grading"), 8, tmp_path / "cache")
    finally:
        os.umask(before)
    paths = [path for path in tmp_path.rglob("*") if path != tmp_path / "cache"]
    assert len(paths) > 6
    for path in paths:
        wanted = folder if path.is_dir() else file
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
