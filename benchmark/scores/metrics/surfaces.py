"""Distances between the surfaces of predicted and true structures, in mm or in pixels (MONAI).

A unit is what is scored as one: a volume where slices and their distance are known, else an image.
Legend: n slices or images, S the side of the grid, K classes.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.data.base import IGNORE
from benchmark.scores.metric import Metric, PerClass, Predictions, Weighted, add, mean_over
from benchmark.scores.metrics.overlap import volumes

TOLERANCE = 1.0  # mm or pixels, of the surface Dice
FLAT = 3  # a volume of fewer slices is scored slice by slice


@dataclass(frozen=True)
class Unit:
    """Class maps of a volume (slices, S, S) or an image (S, S), its volume, the grid's spacing."""

    predicted: np.ndarray
    truth: np.ndarray
    volume: int
    spacing: tuple[float, ...]

    @property
    def diagonal(self) -> float:
        """Return the largest distance that there can be."""
        sides = [n * step for n, step in zip(self.truth.shape, self.spacing, strict=True)]
        return float(np.linalg.norm(sides))


def units(predictions: Predictions) -> list[Unit]:
    """Return the units of class maps (n, S, S); slices of a volume are in their order.

    "extent" (n, 3) is the height and width of a slice and the distance to the next, in mm; without
    it every image is a unit of its own, in pixels. In a volume of one or two slices every voxel
    lies on the surface, which hides all errors inside: its slices are units of their own.
    """
    arrays, (members, _) = predictions.arrays, predictions.once(volumes)
    truth, extent = arrays["truth"], arrays.get("extent")
    predicted = np.where(truth == IGNORE, 0, arrays["masks"])
    if extent is None:
        maps = zip(predicted, truth, members.tolist(), strict=True)
        return [Unit(p, t, volume, (1.0, 1.0)) for p, t, volume in maps]
    found, side = [], truth.shape[1]
    for volume in range(members.max() + 1):
        rows = np.flatnonzero(members == volume)
        height, width, step = (float(length) for length in extent[rows[0]])
        pixel = (height / side, width / side)
        if len(rows) < FLAT:
            found += [Unit(predicted[row], truth[row], volume, pixel) for row in rows]
        else:
            found.append(Unit(predicted[rows], truth[rows], volume, (step, *pixel)))
    return found


@dataclass(frozen=True)
class Distances:
    """What was measured of class k in each unit; NaN where the class is in neither mask."""

    hd95: np.ndarray
    surface_dice: np.ndarray
    missed: np.ndarray
    false_alarms: np.ndarray


def distances(k: int, found: Sequence[Unit]) -> Distances:
    """Return the distances of class k in the units (u,).

    A structure that is missed, or seen where there is none, has the diagonal of the grid and a
    surface Dice of 0: a failure never drops out of the mean.
    """
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    rows = []
    for unit in found:
        predicted, truth = unit.predicted == k, unit.truth == k
        if not predicted.any() and not truth.any():
            rows.append((np.nan, np.nan, 0.0, 0.0))
            continue
        if not predicted.any() or not truth.any():
            missed = not predicted.any()
            rows.append((unit.diagonal, 0.0, float(missed), float(not missed)))
            continue
        p, t = (torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (predicted, truth))
        step = list(unit.spacing)
        with warnings.catch_warnings():  # MONAI warns of an argument of its own
            warnings.simplefilter("ignore", FutureWarning)
            far = compute_hausdorff_distance(p, t, True, percentile=95, spacing=step)
            near = compute_surface_dice(p, t, [TOLERANCE], True, spacing=step)
        rows.append((float(far), float(near), 0.0, 0.0))
    return Distances(*np.array(rows, float).reshape(-1, 4).T)


def _foreground(predictions: Predictions) -> range:
    return range(1, len(predictions.classes))


@functools.cache
def _of_class(k: int) -> Callable[[Predictions], Distances]:
    """Return what measures class k; the same object each time, as `Predictions.once` needs."""
    return lambda predictions: distances(k, predictions.once(units))


def _mean(name: str, predictions: Predictions, k: int) -> Weighted:
    """Return the weighted mean over volumes of the mean over their units."""
    values = getattr(predictions.once(_of_class(k)), name)
    volume_of = np.array([unit.volume for unit in predictions.once(units)])
    _, owners = predictions.once(volumes)
    known = ~np.isnan(values)
    sums = np.bincount(volume_of[known], values[known], len(owners))
    with np.errstate(invalid="ignore"):
        return mean_over(sums / np.bincount(volume_of[known], minlength=len(owners)), owners)


def _count(name: str, predictions: Predictions, k: int) -> Weighted:
    values = getattr(predictions.once(_of_class(k)), name)
    _, owners = predictions.once(volumes)
    each = owners[[unit.volume for unit in predictions.once(units)]]
    by_group = np.bincount(each, values, predictions.num_groups)
    return lambda weights: weights @ by_group.astype(weights.dtype)


NEEDS = ("masks", "truth")
_FAILURES = "a missed structure or a false alarm counts as the diagonal of the image"
_HD95 = f"The 95th percentile of the Hausdorff distance in {{}}; {_FAILURES}."

add(
    Metric(
        name="hd95_mm",
        display="HD95 mm",
        definition=_HD95.format("mm, of a volume"),
        tasks=("segmentation",),
        needs=(*NEEDS, "extent"),
        form=PerClass(functools.partial(_mean, "hd95"), _foreground),
        higher_is_better=False,
        unit="mm",
        decimals=2,
        since=2,
    )
)
add(
    Metric(
        name="hd95_px",
        display="HD95 px",
        definition=_HD95.format("pixels of the image as the model sees it"),
        tasks=("segmentation",),
        needs=NEEDS,
        unless=("extent",),
        form=PerClass(functools.partial(_mean, "hd95"), _foreground),
        higher_is_better=False,
        unit="px",
        decimals=2,
    )
)
add(
    Metric(
        name="surface_dice",
        display="surface Dice",
        definition="The share of both surfaces that lies within 1 mm (without a spacing, 1 pixel) "
        "of the other (Nikolov et al. 2018); a missed structure or a false alarm counts 0.",
        tasks=("segmentation",),
        needs=NEEDS,
        form=PerClass(functools.partial(_mean, "surface_dice"), _foreground),
        higher_is_better=True,
        since=2,
    )
)
for name, display, definition in (
    ("missed", "missed", "The number of structures that are there and nowhere predicted."),
    ("false_alarms", "false alarms", "The number of predicted structures that are not there."),
):
    add(
        Metric(
            name=name,
            display=display,
            definition=definition,
            tasks=("segmentation",),
            needs=NEEDS,
            form=PerClass(functools.partial(_count, name), _foreground, total=True),
            higher_is_better=False,
            unit="structures",
            decimals=0,
            since=2,
        )
    )
