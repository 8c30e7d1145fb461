"""`data prepare`: decode once, write down what was decoded, and group near-duplicates."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.core.escape import formula
from benchmark.core.files import filled, refuse_inside, write_text
from benchmark.core.registry import InputError
from benchmark.data.base import Dataset
from benchmark.data.show import shown


def write_manifest(dataset: Dataset, groups: list[str], out: Path) -> Path:
    """Write the data set with other groups as `out`/manifest.csv, and return its path.

    Images stay where they are; masks are written as class numbers to `out`/masks.

    Raises:
        InputError: for a set that is not made of one file per image, and an `out` that holds images
            of the set, or files that this program did not write.
    """
    # slices of a volume share a file, and pixels of archives have none: no row could name them
    if len(set(dataset.files)) != len(dataset):
        raise InputError(
            f"{dataset.card.name!r} is not made of one file per image; its groups are "
            f"{dataset.card.group_key or 'its own'} and cannot be changed"
        )
    refuse_inside(out, dataset.files)
    target = "label" if dataset.read_mask is None else "mask"
    with filled(out, ["manifest.csv"]) as folder:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", target, "group", *(["split"] if any(dataset.splits) else [])])
        for row, path in enumerate(dataset.files):
            if dataset.read_mask is None:
                value = shown(dataset, row)[0]
            else:
                value = f"masks/{row:06d}.png"
                (folder / "masks").mkdir(exist_ok=True)
                # 0 and 255 alone would be read as a foreground of 255: there, 1 is the foreground
                mask = np.ascontiguousarray(dataset.read_mask(row))
                Image.fromarray(mask).save(folder / value)
            name = os.path.relpath(path.resolve(), out.resolve())
            writer.writerow([name, value, groups[row], *filter(None, [dataset.splits[row]])])
        write_text(folder / "manifest.csv", stream.getvalue())
    return out / "manifest.csv"


def write_listing(dataset: Dataset, out: Path) -> Path:
    """Write id, group, split and label of every image beside the fingerprint; return the path."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "label", "group", "split"])
    for row, name in enumerate(dataset.ids):
        label = "+".join(shown(dataset, row))
        values = (name, label, dataset.groups[row], dataset.splits[row])
        writer.writerow(map(formula, values))
    path = out / f"{dataset.card.name}-{dataset.fingerprint}.csv"
    write_text(path, stream.getvalue())
    return path
