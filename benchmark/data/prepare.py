"""`data prepare`: decode once, write down what was decoded, and group near-duplicates."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.core.escape import formula
from benchmark.core.files import filled, refuse_inside, write_text
from benchmark.core.registry import InputError
from benchmark.data.base import Dataset
from benchmark.data.readers.declared import NAME, as_toml
from benchmark.data.readers.table import class_names
from benchmark.data.show import shown

# of a declaration: what does not speak of labels or masks, which are written anew
_KEPT = ("patients", "pages", "alpha", "window", "modality", "licence", "url")


def write_manifest(dataset: Dataset, groups: list[str], out: Path) -> Path:
    """Write the data set with other groups as `out`/manifest.csv, and return its path.

    Images stay where they are; masks are written as class numbers to `out`/masks. What the manifest
    alone would not say goes into a dataset.toml: how files are read, names and order of classes.

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
    keys = _declared(dataset)
    with filled(out, ["manifest.csv", *([NAME] if keys else [])]) as folder:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", target, "group", *(["split"] if any(dataset.splits) else [])])
        for row, path in enumerate(dataset.files):
            if dataset.read_mask is None:
                value = "|".join(shown(dataset, row))
            else:
                value = f"masks/{row:06d}.png"
                (folder / "masks").mkdir(exist_ok=True)
                # 0 and 255 alone would be read as a foreground of 255: there, 1 is the foreground
                mask = np.ascontiguousarray(dataset.read_mask(row))
                Image.fromarray(mask).save(folder / value)
            name = os.path.relpath(path.resolve(), out.resolve())
            writer.writerow([name, value, groups[row], *filter(None, [dataset.splits[row]])])
        write_text(folder / "manifest.csv", stream.getvalue())
        if keys:
            write_text(folder / NAME, as_toml(keys) + "\n")
    return out / "manifest.csv"


def _declared(dataset: Dataset) -> dict[str, Any]:
    """Return the keys of the dataset.toml by which the written manifest is read the same."""
    card = dataset.card
    keys = {key: dataset.declaration[key] for key in _KEPT if key in dataset.declaration}
    if card.grouping == "unknown":  # copies in one group do not make the patients known
        keys["patients"] = "unknown"
    if card.task == "multilabel":
        return keys | {"classes": card.classes, "multilabel": True}
    if card.task == "segmentation":
        plain = ("background", *(f"class{k}" for k in range(1, len(card.classes))))
        return keys if card.classes == plain else keys | {"classes": card.classes}
    found = class_names([card.classes[k] for k in dataset.labels], card.name)
    same = found == (card.classes, card.ordinal)
    return keys if same else keys | {"classes": card.classes, "ordinal": card.ordinal}


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
