"""The contract of a data set: metadata, an index of images, and functions that decode one of them.

Nothing here knows torch. Legend: n images, (H, W) an image's own size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.core.citation import Citation, line
from benchmark.core.registry import Registry

TaskName = Literal["classification", "multilabel", "segmentation"]
# Where the groups of a set come from. "given": its publisher, or the user's group column, says
# which images belong together. "inferred": this project derived it from names or numbers.
# "single": every image is of another subject. "unknown": nobody says, so images of one patient
# may lie on both sides of a split, and every table of the set has to say so.
Grouping = Literal["given", "inferred", "single", "unknown"]
IGNORE = 255  # mask value that neither the loss nor a metric counts


def many(count: int, one: str, several: str = "") -> str:
    """Return "1 image" or "2 images"; `several` for another plural than with s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


@dataclass(frozen=True)
class Card:
    """What a reader must know of a data set before its numbers: shown by `list` and in reports."""

    name: str
    task: TaskName
    classes: tuple[str, ...]  # segmentation: class 0 is the background
    modality: str
    licence: str
    citations: tuple[Citation, ...]  # none: the user's own data
    url: str
    ordinal: bool = False  # grades with an order: quadratic weighted kappa selects
    synthetic: bool = False  # tables mark it
    grouping: Grouping = "unknown"
    group_key: str = ""  # what a group is: "patient", "volume", "lesion"
    group_source: str = ""  # how the groups were made, or what is not known, in one sentence
    counts: Mapping[str, int] = field(default_factory=dict)  # images of each class, or "images"
    official: str = ""  # which parts are official; empty: split by seed
    get: str = ""  # what to get, and the layout that is expected below ROOT/NAME
    display: str = ""  # as tables print it ("HAM10000"); empty: the name
    folder: str = ""  # below the root; empty: the name. Sets of one download share it
    unchecked: str = ""  # facts of this card that are not from the publisher's own pages
    variant_of: str = ""  # the set of which this is another resolution: lists show that one

    @property
    def title(self) -> str:
        """Return the name for people."""
        return self.display or self.name

    @property
    def citation(self) -> str:
        """Return the citations in one line."""
        return line(self.citations)

    @property
    def group_note(self) -> str:
        """Return what every table of this set has to say of its groups; "" where they are given."""
        if self.grouping == "unknown":
            reason = f" ({self.group_source})" if self.group_source else ""
            return (
                f"{self.title}: which images share a patient is unknown{reason}, so training and "
                "test may share patients."
            )
        if self.grouping == "inferred":
            return f"{self.title}: groups ({self.group_key}) are inferred: {self.group_source}."
        return ""

    @property
    def first(self) -> int:
        """Return the first class that an image can show: not the background of masks."""
        return int(self.task == "segmentation")


@dataclass(frozen=True)
class Dataset:
    """An opened data set.

    `labels` (n,) int64 holds the class in classification, and where an image has any number of
    findings ("multilabel") their bit set (bit k, class k); in segmentation a `stratum`, the bit set
    of the classes that the mask shows, which only splitting uses. `groups` holds the id where an
    image is its own group. `splits` holds "train", "val", "test" or "" (ours to split).
    `read_image(i)` returns (H, W, 3) uint8, `read_mask(i)` (H, W) uint8. `fingerprint` is a hash
    over images, masks, labels, ids, groups and splits; never over where they lie. `files` names
    what was read (empty where nothing lies on the disk as a file of its own). `extent` (n, 3) is
    the height and width of a slice and the distance to the next in mm, for volumes.
    `volumes` holds what is scored as one: the volume of a slice (slices in order), or the group.
    `read_image.reduced(i, s)`, where it exists, may decode fewer pixels: at least 2 s a side.
    `notes` are sentences on what was taken or left out in opening; commands print `remarks`.
    `declaration` holds the keys of a dataset.toml that reads a user's set as it was read, `read_as`
    those by which new images are read as these were, the axis of their slices among them.
    """

    card: Card
    ids: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    fingerprint: str
    read_image: Callable[[int], np.ndarray] = field(repr=False)
    read_mask: Callable[[int], np.ndarray] | None = field(default=None, repr=False)
    files: tuple[Path, ...] = field(default=(), repr=False)
    extent: np.ndarray | None = field(default=None, repr=False)
    volumes: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    declaration: Mapping[str, Any] = field(default_factory=dict, repr=False)
    read_as: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def remarks(self) -> list[str]:
        """Return what a reader must know of the set as it was opened: of its groups, and `notes`.

        Each is a sentence that names the set.
        """
        notes = [f"{self.card.title}: {note}" for note in self.notes]
        return [self.card.group_note, *notes] if self.card.group_note else notes


def stratum(values: np.ndarray) -> int:
    """Return the bit set of the foreground classes among the `values` of a mask: bit k, class k."""
    return sum(1 << int(value) for value in np.unique(values) if 0 < value < IGNORE)


@dataclass(frozen=True)
class Split:
    """Row numbers of one cell's images, in the order in which they were drawn."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def labels_used(self) -> int:
        """Labels that the cell pays for: training plus validation images."""
        return len(self.train) + len(self.val)


@dataclass(frozen=True)
class Entry:
    """A named data set in the registry: its card, and how to open it below a folder.

    An embedded set needs no folder and ignores it.
    """

    card: Card
    open: Callable[[Path], Dataset]

    @property
    def embedded(self) -> bool:
        """Return whether the set needs nothing from the user."""
        return not self.card.get


# filled by the modules of benchmark/data/sets, which `benchmark.data` imports
datasets: Registry[Entry] = Registry("dataset")
