"""What is examined: files, copies, groups, counts, sizes, brightness, traces of lossy coding.

Legend: n images.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.core.registry import InputError
from benchmark.data import Dataset, split
from benchmark.data.base import many
from benchmark.data.doctor.coding import blockiness, jpeg_quality
from benchmark.data.doctor.duplicates import NEAREST, THRESHOLD, Pair, Thumbnails
from benchmark.data.readers import dicom
from benchmark.data.split import absent

FLAT = 8  # grey levels between the darkest and the brightest pixel of an image without content
ODD_SIZE = 4.0  # times larger or smaller than the median side
BLOCKY = 1.5  # differences at the borders of 8 x 8 blocks over those inside
LOW_QUALITY = 75


@dataclass(frozen=True)
class Finding:
    """One fault: how grave ("error", "warning", "note"), what, and the images concerned."""

    severity: str
    check: str
    text: str
    images: tuple[str | tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Look:
    """What one reading of all images found; rows that cannot be read are in `unreadable`."""

    unreadable: dict[int, str]
    contents: dict[int, str]
    sizes: dict[int, tuple[int, int]]
    ranges: dict[int, int]
    blocky: dict[int, float]
    thumbnails: Thumbnails


def examine(dataset: Dataset, threshold: float = THRESHOLD) -> tuple[list[Finding], list[Pair]]:
    """Return (findings, near-duplicate pairs across groups) of a data set that opens."""
    seen = look(dataset)
    found, crowded = seen.thumbnails.pairs(threshold)
    # within a group copies do no harm: they are on one side of every split
    pairs = [p for p in found if dataset.groups[p.a] != dataset.groups[p.b]]
    parts, refused = _parts(dataset)
    findings = [
        *_unreadable(dataset, seen),
        *([Finding("error", "split", f"`run` refuses it: {refused}")] if refused else []),
        *_absent(dataset, parts),
        *_counts(dataset),
        *_exact(dataset, seen),
        *_near(dataset, pairs, parts, threshold),
        *_crowded(crowded),
        *_odd(dataset, seen),
        *_coding(dataset, seen),
        *_burned_in(dataset, seen),
    ]
    return findings, pairs


def look(dataset: Dataset) -> Look:
    """Return what a reading of every image and mask finds."""
    seen = Look({}, {}, {}, {}, {}, Thumbnails(len(dataset)))
    for index in range(len(dataset)):
        try:
            image = dataset.read_image(index)
            if dataset.read_mask is not None:
                dataset.read_mask(index)
        except InputError as error:
            seen.unreadable[index] = str(error)
            continue
        # of pixels, not of files: a copy under another compression is a copy
        seen.contents[index] = hashlib.sha256(image.tobytes()).hexdigest()
        seen.sizes[index] = image.shape[:2]
        seen.ranges[index] = int(image.max()) - int(image.min())
        seen.blocky[index] = blockiness(image)
        seen.thumbnails.add(index, image)
    return seen


def _named(dataset: Dataset, rows: Iterable[int]) -> tuple[str, ...]:
    return tuple(dataset.ids[row] for row in rows)


def _unreadable(dataset: Dataset, seen: Look) -> Iterator[Finding]:
    if seen.unreadable:
        first = next(iter(seen.unreadable.values()))
        what = many(len(seen.unreadable), "image or mask", "images or masks")
        text = f"{what} cannot be read; first: {first}"
        yield Finding("error", "unreadable", text, _named(dataset, seen.unreadable))


def _absent(dataset: Dataset, parts: np.ndarray) -> Iterator[Finding]:
    """Tell classes of which validation or test has no image: too few groups show them."""
    for number, part in ((1, "validation"), (2, "test")):
        names = absent(dataset, np.flatnonzero(parts == number)) if (parts == number).any() else []
        if names:
            text = f"no {part} image shows {', '.join(names)}: add groups that do, or merge classes"
            yield Finding("warning", "split", text)


def _counts(dataset: Dataset) -> Iterator[Finding]:
    """Compare with the published counts of a named set."""
    card = dataset.card
    found = {"images": len(dataset), "volumes": len(set(dataset.volumes))}
    if card.task == "classification":
        names = Counter(card.classes[k] for k in dataset.labels)
        found |= {name: names[name] for name in card.classes}
    # a warning, no error: copies that lack a part are still good for a pilot
    for name, expected in card.counts.items():
        if found[name] != expected:
            yield Finding("warning", "counts", f"{found[name]} {name}; published: {expected}")


def _exact(dataset: Dataset, seen: Look) -> Iterator[Finding]:
    same = defaultdict(list)
    for row, content in seen.contents.items():
        same[content].append(row)
    # of one group they are repeats that the owner knows of
    copies = [rows for rows in same.values() if len({dataset.groups[r] for r in rows}) > 1]
    if copies:
        what = many(len(copies), "image occurs", "images occur")
        text = f"{what} more than once, in different groups"
        yield Finding("warning", "duplicates", text, tuple(_named(dataset, r) for r in copies))


def _near(
    dataset: Dataset, pairs: Sequence[Pair], parts: np.ndarray, threshold: float
) -> Iterator[Finding]:
    """Tell near-duplicates within a class, across classes, and across the parts of a split."""
    kinds: dict[str, list[Pair]] = {"within a class": [], "across classes": []}
    for pair in pairs:
        alike = (
            dataset.card.task == "segmentation" or dataset.labels[pair.a] == dataset.labels[pair.b]
        )
        kinds["within a class" if alike else "across classes"].append(pair)
    # the gravest kind: the test score measures memory
    name = "official split" if any(dataset.splits) else "split of seed 0"
    kinds[f"across the parts of the {name}"] = [p for p in pairs if parts[p.a] != parts[p.b]]
    for kind, some in kinds.items():
        if some:
            what = many(len(some), "near-duplicate pair")
            text = f"{what} {kind} (64 px correlation > {threshold:g})"
            named = tuple(_named(dataset, (p.a, p.b)) for p in some)
            yield Finding("warning", f"near-duplicates {kind}", text, named)


def _crowded(count: int) -> Iterator[Finding]:
    """Say where so many images look alike that not every pair was compared closely."""
    if count:
        text = (
            f"{many(count, 'image')} {'has' if count == 1 else 'have'} more than {NEAREST} "
            "lookalikes at 32 px; only the nearest were compared at 64 px"
        )
        yield Finding("note", "lookalikes", text)


def _parts(dataset: Dataset) -> tuple[np.ndarray, str]:
    """Return the part (n,) of each image, and why there is none.

    The parts are 0 training, 1 validation, 2 test; -1 for an image that is in none.
    """
    parts = np.full(len(dataset), -1)
    try:
        rows = split(dataset, 1.0, 0)
    except InputError as error:
        return parts, str(error)
    for number, some in enumerate((rows.train, rows.val, rows.test)):
        parts[some] = number
    return parts, ""


def _odd(dataset: Dataset, seen: Look) -> Iterator[Finding]:
    flat = [row for row, span in seen.ranges.items() if span < FLAT]
    if flat:
        what = many(len(flat), "image spans", "images span")
        text = f"{what} fewer than {FLAT} of 255 grey levels"
        yield Finding("warning", "range", text, _named(dataset, flat))
    if not seen.sizes:
        return
    # of the same area: a portrait and a landscape of one camera are alike
    sides = {row: (h * w) ** 0.5 for row, (h, w) in seen.sizes.items()}
    middle = float(np.median(list(sides.values())))
    odd = [r for r, side in sides.items() if not 1 / ODD_SIZE < side / middle < ODD_SIZE]
    if odd:
        what = many(len(odd), "image is", "images are")
        text = f"{what} over {ODD_SIZE:g} times larger or smaller than the median"
        yield Finding("warning", "size", text, _named(dataset, odd))


def _coding(dataset: Dataset, seen: Look) -> Iterator[Finding]:
    """Tell low JPEG quality, and pictures without loss that were lossy once."""
    if not dataset.files:
        return
    quality = {row: jpeg_quality(dataset.files[row]) for row in seen.contents}
    # a note: nothing is wrong with a file, but artefacts may go with the class or the clinic
    low = [row for row, value in quality.items() if value is not None and value < LOW_QUALITY]
    if low:
        text = f"{many(len(low), 'image is', 'images are')} JPEG of a quality below {LOW_QUALITY}"
        yield Finding("note", "coding", text, _named(dataset, low))
    again = [row for row, v in seen.blocky.items() if v > BLOCKY and quality[row] is None]
    if again:
        what = many(len(again), "image without loss shows", "images without loss show")
        text = f"{what} 8 x 8 blocks: JPEG before"
        yield Finding("note", "coding", text, _named(dataset, again))
    yield from _formats(dataset)


def _burned_in(dataset: Dataset, seen: Look) -> Iterator[Finding]:
    """Tell DICOM files with text in their pixels: a network can read a name or a finding there."""
    rows = [
        row
        for row in seen.contents
        if dataset.files
        and dicom.is_dicom(dataset.files[row])
        and dicom.has_burned_in_text(dataset.files[row])
    ]
    if rows:
        what = many(len(rows), "DICOM file says", "DICOM files say")
        text = f"{what} that text is burned into the pixels (BurnedInAnnotation)"
        yield Finding("warning", "text", text, _named(dataset, rows))


def _formats(dataset: Dataset) -> Iterator[Finding]:
    """Tell file formats that go with the class: a network can learn the format instead."""
    if dataset.card.task != "classification":
        return
    kinds = defaultdict(set)
    for path, label in zip(dataset.files, dataset.labels, strict=True):
        kinds[int(label)].add(path.suffix.lower())
    # files show which scanner or website a class came from, and the network sees that, too
    if len({frozenset(found) for found in kinds.values()}) > 1:
        said = "; ".join(
            f"{dataset.card.classes[k]}: {', '.join(sorted(v))}" for k, v in sorted(kinds.items())
        )
        yield Finding("warning", "formats", f"file formats differ between classes ({said})")
