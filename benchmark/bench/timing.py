"""Interleaved timing: each thing once, then each thing again, so that a slow minute hits all.

Legend: R rounds, k repeats in a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from scipy.stats import binom

CONFIDENCE = 0.95
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Estimate:
    """A median over rounds and the interval that holds it with the confidence of `interval`."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median of `values` and its distribution-free interval."""
    low, high = interval(values)
    return Estimate(median(values), low, high)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the order statistics that enclose the median with probability 0.95 or more.

    With fewer than six values none do, and the answer is the range (five values: 0.94).
    """
    ordered, count = sorted(values), len(values)
    outside = [2 * float(binom.cdf(k, count, 0.5)) for k in range(count // 2)]
    cut = sum(share <= 1 - CONFIDENCE for share in outside)
    skip = max(cut - 1, 0)
    return ordered[skip], ordered[count - 1 - skip]


@dataclass(frozen=True)
class Watch:
    """How things are timed: R rounds of k repeats, by the wall clock or in processor time.

    Processor time ("cpu") is for one thread on a machine that others use: it leaves out the time
    in which others ran, though not what they do to caches.
    """

    device: torch.device
    rounds: int = 5
    repeats: int = 3
    clock: str = "wall"

    def seconds(self, action: Callable[[], object]) -> float:
        """Return how long `action` takes, work queued on a GPU included."""
        now = CLOCKS[self.clock]
        start = now()
        action()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return now() - start


def interleaved(
    actions: Mapping[str, Callable[[], object]], watch: Watch
) -> dict[str, list[float]]:
    """Return for each action its median of k interleaved runs in each of R rounds, in seconds.

    One unmeasured run of each goes before.
    """
    for action in actions.values():
        watch.seconds(action)
    medians: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(watch.rounds):
        times: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(watch.repeats):
            for name, action in actions.items():
                times[name].append(watch.seconds(action))
        for name, found in times.items():
            medians[name].append(median(found))
    return medians


def ratios(medians: Mapping[str, Sequence[float]], name: str, base: str) -> Estimate:
    """Return the time of `name` as a multiple of `base`'s: a ratio per round, then the median."""
    pairs = zip(medians[name], medians[base], strict=True)
    return estimate([mine / other for mine, other in pairs])
