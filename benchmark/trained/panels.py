"""`report --panels N`: what pictures need beyond records: test images, and where prompts look.

Written to `OUT/panels/`: `images-DATA-SIZE.npz` (`ids`, `images`) per data set and image size, and
`attention-KEY.npz` per cell whose prompts read the image. Nothing is trained or scored.

Legend: n images, S image side, B images, N tokens, m prompts, (h, w) the grid of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.core.files import DELTA, write_arrays
from benchmark.core.record import Record, find_records, read_record
from benchmark.core.registry import InputError
from benchmark.core.spec import base_name
from benchmark.trained import Trained, load
from benchmark.training.session import Session
from benchmark.training.source import Subset
from methods.parts.bottlenecks import AttendBottleneck, RowsBottleneck

FOLDER = "panels"


def write(
    runs: Path, out: Path, session: Session, num: int, allowed: Collection[str] = ()
) -> tuple[list[Path], list[str]]:
    """Write images and attention of `num` test images each; return (paths, what was left out).

    One cell per method, data set, label fraction and image size: that of the lowest seeds.
    """
    paths: dict[Path, None] = {}
    skipped: dict[str, None] = {}
    for folder, record in _cells(runs):
        try:
            for path in _write(out, folder, record, session, num, allowed):
                paths[path] = None
        except InputError as error:
            skipped[f"{record.cell.dataset}: {error}"] = None
    return list(paths), list(skipped)


def _cells(runs: Path) -> Iterator[tuple[Path, Record]]:
    found: dict[tuple[Any, ...], tuple[tuple[int, int], Path, Record]] = {}
    for path in find_records(runs):
        try:
            record = read_record(path)
        except InputError:
            continue  # the report names it
        cell = record.cell
        seeds = (cell.split_seed, cell.seed)
        same = (cell.dataset, cell.backbone, cell.image_size, cell.method)
        kind = (*same, cell.fraction, cell.shots)
        if kind not in found or seeds < found[kind][0]:
            found[kind] = seeds, path.parent, record
    yield from ((folder, record) for _, folder, record in found.values())


def _write(
    out: Path,
    folder: Path,
    record: Record,
    session: Session,
    num: int,
    allowed: Collection[str],
) -> Iterator[Path]:
    cell = record.cell
    segments = record.data.task == "segmentation"
    if not (segments or reads(cell.method)):
        return
    data = session.decoded(cell)
    if data.dataset.fingerprint != cell.data:
        raise InputError(f"its images are not those of {folder.name}; no picture is made")
    labels = data.dataset.labels[data.test.rows]
    kinds = labels if labels.ndim == 1 else labels.sum(1)  # several findings: how many
    rows = picked(kinds, num, strata=segments)
    ids, images = [data.test.ids[i] for i in rows], _images(data.test, rows)
    if segments:
        yield _save(out / FOLDER / f"images-{cell.data}-{cell.image_size}.npz", ids, images)
    if reads(cell.method) and (folder / DELTA).exists():
        trained = load(folder, session.source(cell.backbone), session.device, allowed)
        found = attention(trained, images)
        if found:
            yield _save(out / FOLDER / f"attention-{cell.key}.npz", ids, images, **found)


def reads(method: str) -> bool:
    """Return whether the method has prompts whose attention can be read."""
    return base_name(method) == "dvpt" and "attention=False" not in method


def picked(labels: np.ndarray, num: int, *, strata: bool = False) -> list[int]:
    """Return `num` places, without a look at any prediction: the labels take turns.

    The highest come first, with `strata` (of masks) those that show the most classes, and masks
    that show none never; within a label, the places from its middle on.
    """
    kinds = {int(k): np.flatnonzero(labels == k) for k in np.unique(labels) if k or not strata}
    order = sorted(kinds, key=lambda k: (-k.bit_count() * strata, -k))
    queues = {k: list(np.roll(kinds[k], -(len(kinds[k]) // 2))) for k in order}
    chosen: list[int] = []
    while len(chosen) < num and any(queues.values()):
        chosen += [int(queues[k].pop(0)) for k in order if queues[k]]
    return chosen[:num]


def _images(subset: Subset, rows: Sequence[int]) -> np.ndarray:
    """Return images (n, S, S, 3) uint8, grey ones repeated over the channels."""
    images = subset.load(np.array(rows), torch.device("cpu"))[0].permute(0, 2, 3, 1).numpy()
    return images.repeat(3 // images.shape[3], 3)


def _save(path: Path, ids: Sequence[str], images: np.ndarray, **arrays: np.ndarray) -> Path:
    write_arrays(path, ids=np.array(ids), images=images, **arrays)
    return path


def attention(trained: Trained, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the prompts' attention on images (n, S, S, 3), block by block; empty without any.

    `map_B` (n, h, w): attention of block B over the image, mean over prompts, in multiples of even
    attention. `share_B` (n,): exp(entropy) / N of a prompt, mean over prompts: the share of tokens
    that it reads in effect. `blocks` names the blocks B, counted from 0.
    """
    found: dict[int, Tensor] = {}
    calls = 0

    def read(module: nn.Module, z: Tensor, last: bool) -> Tensor:
        nonlocal calls
        if not (last and isinstance(module, RowsBottleneck)):  # there, nobody reads
            found[calls] = looks(module, z)
        calls += 1
        return type(module).mix(module, z, last)  # type: ignore[attr-defined]

    kinds = (RowsBottleneck, AttendBottleneck)
    modules = [module for module in trained.model.modules() if isinstance(module, kinds)]
    for module in modules:
        vars(module)["mix"] = partial(read, module)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(trained.device)
    try:
        with torch.inference_mode():
            trained.model(trained.normalize(batch))
    finally:
        for module in modules:
            del vars(module)["mix"]
    arrays = {"blocks": np.array(sorted(found))} if found else {}
    for block, weights in found.items():
        arrays[f"map_{block}"], arrays[f"share_{block}"] = _summed(weights.float().cpu())
    return arrays


def looks(module: nn.Module, z: Tensor) -> Tensor:
    """Return the weights (B, m, N) with which prompts of a DVPT module read Z (B, tokens, r)."""
    assert isinstance(module, RowsBottleneck | AttendBottleneck)
    if isinstance(module, RowsBottleneck):
        queries, start = z[:, module.start : module.stop], module.start
        keys = torch.cat([z[:, :start], z[:, module.stop :]], 1)
    else:
        queries, keys = module.queries.expand(len(z), -1, -1), z
    return (queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(-1)


def _summed(weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return (maps (B, h, w), shares (B,)) of weights (B, m, N); prefix tokens come first."""
    num = weights.shape[-1]
    side = math.isqrt(num)
    mean = weights.mean(1) * num
    maps = mean[:, num - side * side :].reshape(-1, side, side)
    entropy = -(weights * weights.clamp(min=1e-12).log()).sum(-1)
    return maps.numpy(), (entropy.exp() / num).mean(1).numpy()
