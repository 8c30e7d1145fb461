"""The data doctor: what is wrong with a data set, found before any training."""

from benchmark.data.doctor.checks import Finding, examine
from benchmark.data.doctor.duplicates import THRESHOLD, Pair, merged_groups, near_duplicates

__all__ = ["THRESHOLD", "Finding", "Pair", "examine", "merged_groups", "near_duplicates"]
