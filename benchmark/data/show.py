"""A data set for the eye: splits and classes in numbers, and a montage of images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tabulate import tabulate

from benchmark.core.files import written
from benchmark.data.base import Dataset, Split
from benchmark.data.readers import dicom
from benchmark.data.readers.declared import PATIENT, as_toml
from benchmark.data.readers.images import resize

SIDE, COLUMNS, ROWS = 112, 8, 4
# Okabe and Ito (2008): distinguished with any colour vision
COLOURS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [213, 94, 0]])


def describe(dataset: Dataset, parts: Split) -> str:
    """Return the card, and images, groups and classes of each part."""
    card, alone = dataset.card, "every image alone"
    grouping = {
        "given": card.group_key,
        "inferred": f"{card.group_key} (inferred)",
        "single": f"{alone}: each shows another subject",
        "unknown": f"{alone}: patients are unknown",
    }[card.grouping]
    source = "your own data: licence, url and modality can be declared in dataset.toml"
    if card.citations:
        source = f"licence {card.licence}; {card.citation}; {card.url}"
    elif card.url:
        source = f"licence {card.licence}; {card.url}"
    official = card.official or ("given with the data" if any(dataset.splits) else "none")
    if not any(dataset.splits):
        # a copy may have lost those that the card speaks of
        official = "none, split by seed" if official.startswith("none") else "absent: split by seed"
    lines = [
        f"{card.name}: {card.modality}; {card.task}, {len(card.classes)} classes",
        f"  {source}",
        f"  group: {grouping}; official parts: {official}; fingerprint {dataset.fingerprint}",
    ]
    if card.unchecked:
        lines.append(f"  not checked against the publisher: {card.unchecked}")
    lines += [f"  note: {note}" for note in dataset.remarks()]
    columns = []
    for part, some in _parts(parts):
        count = Counter(name for row in some for name in shown(dataset, int(row)))
        groups = len({dataset.groups[row] for row in some})
        classes = [count[name] for name in card.classes[card.first :]]
        columns.append([part, len(some), groups, *classes])
    names = ["", "images", "groups", *card.classes[card.first :]]
    head, *rows = zip(names, *columns, strict=True)
    return "\n".join(lines) + "\n\n" + tabulate(rows, head, disable_numparse=[0])


def _parts(parts: Split) -> list[tuple[str, np.ndarray]]:
    return [("train", parts.train), ("val", parts.val), ("test", parts.test)]


def shown(dataset: Dataset, row: int) -> list[str]:
    """Return the class of an image, its findings, or the foreground classes of its mask."""
    classes, label = dataset.card.classes, int(dataset.labels[row])
    if dataset.card.task == "classification":
        return [classes[label]]
    return [name for k, name in enumerate(classes) if k >= dataset.card.first and label >> k & 1]


def listing(dataset: Dataset, parts: Split) -> dict[str, list[dict[str, Any]]]:
    """Return exactly what a cell sees: image, label (or classes shown) and group of each part."""

    def line(row: int) -> dict[str, Any]:
        names = shown(dataset, row)
        label = names[0] if dataset.card.task == "classification" else names
        return {"image": dataset.ids[row], "label": label, "group": dataset.groups[row]}

    return {name: [line(int(row)) for row in rows] for name, rows in _parts(parts)}


SAMPLED = 32  # images that are opened where not all are


def open_pixels(dataset: Dataset, everything: bool) -> int:
    """Decode images and masks as training does, spread evenly or all, and return how many.

    Raises:
        InputError: the first that training would refuse, too.
    """
    count = len(dataset) if everything else min(SAMPLED, len(dataset))
    # spread evenly: a set is sorted by class, clinic or date, and faults come in runs
    for row in map(int, np.linspace(0, len(dataset) - 1, count).round()):
        dataset.read_image(row)
        if dataset.read_mask is not None:
            dataset.read_mask(row)
    return count


def proposal(dataset: Dataset) -> str:
    """Return a dataset.toml that says what was understood: to be corrected, beside the data."""
    lines = [as_toml(dataset.declaration)]
    if dataset.card.grouping == "unknown":
        named = '"patient_id"  # the column of a manifest that names the patient'
        if dataset.files and dicom.is_dicom(dataset.files[0]):
            named = f'"{PATIENT}"  # as the DICOM files name the patient'
        lines.append(f"# group = {named}")
    return "\n".join(lines)


def montage(dataset: Dataset, rows: np.ndarray, path: Path) -> None:
    """Write a picture of up to 32 of `rows`, spread evenly; masks are drawn over the images."""
    # rows of a part are in the order of drawing: evenly spread, they show every class
    chosen = rows[np.linspace(0, len(rows) - 1, min(COLUMNS * ROWS, len(rows))).astype(int)]
    height = -(-len(chosen) // COLUMNS) * SIDE
    canvas = np.full((height, COLUMNS * SIDE, 3), 255, np.uint8)
    for number, row in enumerate(chosen):
        top, left = number // COLUMNS * SIDE, number % COLUMNS * SIDE
        canvas[top : top + SIDE, left : left + SIDE] = _tile(dataset, int(row))
    with written(path) as temporary:
        Image.fromarray(canvas).save(temporary, "png")


def _tile(dataset: Dataset, row: int) -> np.ndarray:
    image = resize(dataset.read_image(row), SIDE)
    if dataset.read_mask is None:
        return image
    mask = resize(dataset.read_mask(row), SIDE, nearest=True)
    colour = COLOURS[np.where(mask > 0, (mask - 1) % (len(COLOURS) - 1) + 1, 0)]
    # the image stays visible below its mask: misplaced ones are seen at once
    mixed = np.where((mask > 0)[..., None], 0.6 * image + 0.4 * colour, image)
    return mixed.round().astype(np.uint8)
