"""The matrix of verdicts as text: methods down, families across, reasons below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from benchmark.auditing.matrix import CHECKS, Verdict


def matrix(verdicts: Sequence[Verdict], style: str = "terminal") -> str:
    """Return the matrix for a terminal or in "markdown"; numbers point at reasons below it.

    In a terminal a number alone is n/a, so that twelve families fit into 100 columns.
    """
    rows, columns = (
        list(dict.fromkeys(getattr(v, name) for v in verdicts)) for name in ("method", "family")
    )
    reasons = list(dict.fromkeys(reason for v in verdicts for reason in v.reasons))
    # one number for one sentence, however many cells have it: the matrix stays narrow
    numbers = {reason: str(number) for number, reason in enumerate(reasons, 1)}
    is_markdown = style == "markdown"
    states = {"pass": ["pass"], "n/a": ["n/a"] * is_markdown, "fail": ["FAIL"]}
    cells = {
        (v.method, v.family): " ".join([*states[v.state], *(numbers[r] for r in v.reasons)])
        for v in verdicts
    }
    head = ["method", *columns]
    table = [[row, *(cells[row, column] for column in columns)] for row in rows]
    notes = "\n".join(f"{number}. {reason}" for reason, number in numbers.items())
    if is_markdown:
        return f"{tabulate(table, head, tablefmt='github')}\n\n{notes}"
    widths = [max(map(len, column)) for column in zip(head, *table, strict=True)]
    rule = ["-" * width for width in widths]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, rule, *table)]
    legend = ["A number alone: n/a, for this reason:"] * any(v.state == "n/a" for v in verdicts)
    return "\n".join([*lines, *legend, notes])


def summary(verdicts: Sequence[Verdict], seconds: float) -> str:
    """Return the count of each state, the number of checks, and the time it took."""
    counts = {state: sum(v.state == state for v in verdicts) for state in ("pass", "n/a", "fail")}
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{states} ({len(CHECKS) + 1} checks each; {seconds:.0f} s)"


def as_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return {"checks": names, "verdicts": [{method, family, state, reason, faults}, ...]}.

    `faults` is a list of {check, reason}, empty unless the state is "fail".
    """
    found = [
        {"method": v.method, "family": v.family, "state": v.state, "reason": v.reason}
        | {"faults": [vars(fault) for fault in v.faults]}
        for v in verdicts
    ]
    return {"checks": [*CHECKS, "distinct"], "verdicts": found}
