"""Files beside a record: the delta that reloads the trained model, and per-image predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.core.files import AGAIN, DELTA, PREDICTIONS, sha256_of, write_arrays, written
from benchmark.core.record import Record
from benchmark.core.registry import InputError
from benchmark.data import Dataset
from benchmark.scores.metrics.overlap import overlap
from benchmark.training.checkpoint import State
from benchmark.training.session import Data
from benchmark.training.source import Subset
from benchmark.training.tasks import Arrays


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, wherever and however they lie in memory."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with written(path) as temporary:
        save_file(plain, temporary, metadata)


def write_delta(folder: Path, state: State) -> int:
    """Write trained tensors, head and the buffers they need; return the size of the file."""
    write_tensors(folder / DELTA, state)
    return (folder / DELTA).stat().st_size


def read_delta(folder: Path, record: Record) -> State:
    """Return the tensors that `write_delta` wrote, on the CPU.

    Raises:
        InputError: they are damaged, or of another cell: they are not those of the record. One
            that is older than this check names no digest; then their values must be finite.
    """
    path = folder / DELTA
    wanted = record.provenance.get("delta")
    remedy = f"the file is damaged or of another cell; {AGAIN}"
    try:
        if not path.is_file() or (wanted and sha256_of(path) != wanted):
            raise InputError(f"{path} is not what the record was written with: {remedy}")
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not whole ({error}): {remedy}") from None
    if not all(t.isfinite().all() for t in state.values() if t.is_floating_point()):
        raise InputError(f"{path} holds values that are no number: {remedy}")
    return state


def write_predictions(folder: Path, data: Data, val: Arrays, test: Arrays) -> Arrays:
    """Write per-image results of both splits, compressed.

    Classification: `val_probs` (n, K) float32 and `val_labels` (n,). Segmentation: `val_masks` and
    `val_truth` (n, S, S) uint8, `val_tp`, `val_fp`, `val_fn` (n, K) pixel counts, `val_volumes`
    (n,), and for volumes `val_extent` (n, 3) in mm. Both: `val_ids` and `val_groups` (n,) strings;
    the same with `test_`. Returns what was written.

    Ids and groups stand in every file, so that a folder of a cell is whole on its own: compressed
    they are 0.1 to 0.4 MB for 25,000 images, beside 0.2 MB (2 classes) to 1.4 MB (14 findings) of
    probabilities and a delta of about 1 MB.
    """
    arrays = {}
    for name, subset, results in (("val", data.val, val), ("test", data.test, test)):
        for key, values in prediction_rows(subset, results, data.dataset).items():
            arrays[f"{name}_{key}"] = values
    write_arrays(folder / PREDICTIONS, **arrays)
    return arrays


def prediction_rows(subset: Subset, results: Arrays, dataset: Dataset) -> Arrays:
    """Return what is stored of one split, names without its prefix."""
    named = {"ids": np.array(subset.ids), "groups": np.array(subset.groups)}
    if "probs" in results:
        return {**named, "probs": results["probs"], "labels": results["labels"]}
    counts = overlap(results["masks"], results["truth"], len(dataset.card.classes))
    masks = {"masks": results["masks"], "truth": results["truth"].astype(np.uint8)}
    named |= {"volumes": np.array(subset.units)}
    if dataset.extent is not None:
        named |= {"extent": dataset.extent[subset.rows]}
    return {**named, **masks, **counts}
