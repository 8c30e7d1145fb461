"""Distances between the surfaces of predicted and true structures, in mm or in pixels (MONAI).

A unit is what is scored as one: a volume where slices and their distance are known, else an image.
Legend: n slices or images, S the side of the grid, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1.0  # mm or pixels, of the surface Dice
Scores = dict[str, float | None]


@dataclass(frozen=True)
class Unit:
    """Class maps of a volume (slices, S, S) or image (S, S), its group, the grid's spacing."""

    predicted: np.ndarray
    truth: np.ndarray
    group: str
    spacing: tuple[float, ...]

    @property
    def diagonal(self) -> float:
        """Return the largest distance that there can be."""
        sides = [n * step for n, step in zip(self.truth.shape, self.spacing, strict=True)]
        return float(np.linalg.norm(sides))


def units(
    predicted: np.ndarray, truth: np.ndarray, volumes: Sequence[str], extent: np.ndarray | None
) -> Iterator[Unit]:
    """Yield the units of class maps (n, S, S); slices of a volume stand in their order.

    `extent` (n, 3) is the height and width of a slice and the distance to the next, in mm; without
    it every image is a unit of its own, in pixels.
    """
    if extent is None:
        for p, t, name in zip(predicted, truth, volumes, strict=True):
            yield Unit(p, t, name, (1.0, 1.0))
        return
    names = np.asarray(volumes)
    side = truth.shape[1]
    for name in dict.fromkeys(volumes):
        rows = np.flatnonzero(names == name)
        height, width, step = extent[rows[0]]
        spacing = (float(step), float(height) / side, float(width) / side)
        yield Unit(predicted[rows], truth[rows], name, spacing)


def scores(found: Sequence[Unit], classes: Sequence[str], unit: str) -> Scores:
    """Return "hd95_UNIT", "surface_dice", "missed" and "false_alarms", and each per class.

    Distances are averaged over the units of a group, then over groups, then over classes. A
    structure that is absent from both is not counted; one that is missed, or seen where there is
    none, counts with the diagonal of the grid and a surface Dice of 0, and in "missed" or
    "false_alarms" (numbers of units): a failure never drops out of the mean.
    """
    result: Scores = {}
    values = [[_measure(u, k) for u in found] for k in range(1, len(classes))]
    for index, name in enumerate((f"hd95_{unit}", "surface_dice")):
        means = [_mean([v[index] for v in column], found) for column in values]
        known = [mean for mean in means if mean is not None]
        result[name] = float(np.mean(known)) if known else None
        result |= {f"{name}_{c}": m for c, m in zip(classes[1:], means, strict=True)}
    for name, index in (("missed", 2), ("false_alarms", 3)):
        counts = [sum(v[index] for v in column) for column in values]
        result[name] = float(sum(counts))
        result |= {f"{name}_{c}": float(n) for c, n in zip(classes[1:], counts, strict=True)}
    return result


def _measure(unit: Unit, k: int) -> tuple[float, float, bool, bool]:
    """Return (HD95, surface Dice, missed, false alarm) of class k; NaN where it is absent."""
    predicted, truth = unit.predicted == k, unit.truth == k
    if not predicted.any() and not truth.any():
        return np.nan, np.nan, False, False
    if not predicted.any() or not truth.any():
        return unit.diagonal, 0.0, not predicted.any(), not truth.any()
    return *_distances(predicted, truth, unit.spacing), False, False


def _distances(
    predicted: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]
) -> tuple[float, float]:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    p, t = (torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (predicted, truth))
    step = list(spacing)
    with warnings.catch_warnings():  # MONAI warns of its own old argument
        warnings.simplefilter("ignore", FutureWarning)
        far = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=step)
        near = compute_surface_dice(p, t, [TOLERANCE], include_background=True, spacing=step)
    return float(far), float(near)


def _mean(values: Sequence[float], found: Sequence[Unit]) -> float | None:
    """Return the mean over groups of the means over their units; None where nothing counts."""
    groups: dict[str, list[float]] = {}
    for value, unit in zip(values, found, strict=True):
        if not np.isnan(value):
            groups.setdefault(unit.group, []).append(value)
    return float(np.mean([np.mean(v) for v in groups.values()])) if groups else None
