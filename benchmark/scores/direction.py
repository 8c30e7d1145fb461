"""How a metric is read: whether less is better, and by how much it is multiplied for tables."""

from __future__ import annotations

_LESS = ("loss", "hd95_", "missed", "false_alarms", "ece", "brier")
_AS_IT_IS = ("loss", "hd95_", "missed", "false_alarms", "temperature")  # no share of anything


def less_is_better(metric: str) -> bool:
    """Return whether a lower value of `metric` is better."""
    return metric.startswith(_LESS)


def scale(metric: str) -> float:
    """Return 100 for shares, 1 for lengths and counts."""
    return 1.0 if metric.startswith(_AS_IT_IS) else 100.0
