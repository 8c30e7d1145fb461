"""What a paper's claim is judged on, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from results.papers.papers import Claim
from results.statistics.comparison import Comparison, Interval, compare
from results.statistics.stats import Statistics
from results.tables import Column


@dataclass(frozen=True)
class Finding:
    """One claim on one method and, where it is about scores, on one data set.

    `value` and `interval` have the claim's unit: percent, or points of the score x 100.
    """

    claim: Claim
    method: str
    dataset: str
    measured: str
    verdict: str
    reason: str
    value: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Evidence:
    """What a claim is judged on: the rows and the statistics of one backbone and image size.

    `own` are the names of the paper's methods.
    """

    rows: pd.DataFrame
    statistics: Statistics
    own: tuple[str, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return the columns of the table."""
        return self.statistics.table.columns

    def scored(self, method: str, column: Column) -> bool:
        """Return whether the table has a number there."""
        return (method, column) in self.statistics.samples

    def compare(self, method: str, other: str, column: Column) -> Comparison | None:
        """Return the comparison on one column, None where one of the two has no number."""
        if not (self.scored(method, column) and self.scored(other, column)):
            return None
        return compare(self.statistics.samples, method, other, [column])

    def about(self, column: Column) -> pd.Series:
        """Return a row of a column, for what it says of the data set."""
        rows = self.rows[self.rows["state"] == "done"]
        return column.of(rows).iloc[0]
