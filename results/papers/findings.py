"""A paper's claims as quantities computed from records, each with a verdict and its reason.

Verdicts: "reproduced", "not reproduced", or "not comparable" where the records lack what the
claim is about. A difference within noise is "not reproduced", and the reason says "undecided".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from benchmark.core.spec import base_name
from results.papers import curve
from results.papers.evidence import Evidence, Finding
from results.papers.papers import Claim, Paper
from results.statistics.comparison import Comparison, Interval, corrected
from results.tables import Column

REFERENCE = "full"
HEADS_ONLY = ("linear", "knn", "mlp_probe")  # they fine-tune nothing of the backbone
TOO_FEW = "n = 1: no interval"
SYNTHETIC = "the data is synthetic"


def judge(paper: Paper, evidence: Evidence, kappa: Evidence) -> list[Finding]:
    """Return every claim on every variant of the paper's methods that has records.

    `evidence` has each data set's own metric, `kappa` the same records with quadratic kappa.
    """
    methods = [m for m in evidence.statistics.table.methods if base_name(m) in paper.methods]
    findings: list[Finding] = []
    for claim in paper.claims:
        used = kappa if claim.quantity == "kappa_gain" else evidence
        here = [f for m in methods for f in QUANTITIES[claim.quantity](claim, m, used)]
        nothing = Finding(claim, "", "", "", "not comparable", "no record bears on it")
        findings += here or [nothing] * bool(methods)
    return findings


def _ratio(claim: Claim, method: str, evidence: Evidence, percent: pd.Series) -> Iterator[Finding]:
    """Yield a cost in percent of the backbone, that of the cell with the smallest head."""
    rows = evidence.rows[(evidence.rows["state"] == "done") & (evidence.rows["method"] == method)]
    if rows.empty:
        return
    value = float(percent[rows["delta_bytes"].idxmin()])
    backbone = evidence.statistics.table.backbone
    if not backbone.startswith(claim.backbone):
        verdict = "not comparable"
        reason = f"the published share is of {claim.backbone}, this of {backbone}"
    else:
        low, high = claim.value - claim.tolerance, claim.value + claim.tolerance
        near = low <= value <= (100 if claim.at_least else high)
        verdict = "reproduced" if near else "not reproduced"
        reason = f"the same is {low:g} " + ("or more" if claim.at_least else f"to {high:g}")
    yield Finding(claim, method, "", f"{value:.2f} %", verdict, reason, value)


def parameter_share(claim: Claim, method: str, evidence: Evidence) -> Iterator[Finding]:
    """Yield trained values of the method, without the head, in percent of the backbone's."""
    rows = evidence.rows
    yield from _ratio(
        claim, method, evidence, 100 * rows["trainable_params"] / rows["backbone_params"]
    )


def storage_saved(claim: Claim, method: str, evidence: Evidence) -> Iterator[Finding]:
    """Yield 100 - bytes of the stored delta in percent of a full copy, both with the head."""
    rows = evidence.rows
    yield from _ratio(claim, method, evidence, 100 - 100 * rows["delta_bytes"] / rows["full_bytes"])


def kappa_gain(claim: Claim, method: str, evidence: Evidence) -> Iterator[Finding]:
    """Yield quadratic kappa minus that of full fine-tuning, in points, with all labels used."""
    for column in evidence.columns:
        row = evidence.about(column)
        if row["task"] != "classification" or column.labels < max(
            c.labels for c in evidence.columns if c.source == column.source
        ):
            continue
        compared = evidence.compare(method, REFERENCE, column)
        if compared is None:
            continue
        ordered = row["ordinal"] or len(row["classes"]) == 2
        reasons = {
            SYNTHETIC: column.synthetic,
            "its classes have no order for kappa": not ordered,
            f"only {column.share} of the labels, not all": not _whole(column),
        }
        reason = next((why for why, holds in reasons.items() if holds), "")
        yield _difference(claim, compared, reason)


def _whole(column: Column) -> bool:
    """Return whether a column uses all labels."""
    return column.fraction == 1 and not column.shots


def _difference(claim: Claim, compared: Comparison, reason: str) -> Finding:
    """Return the finding of a difference in points that should be above `claim.value`."""
    column, measured = compared.columns[0], f"{compared.difference:+z.1f}"
    verdict = "not comparable"
    if compared.interval is None:
        measured, reason = f"{measured} ({TOO_FEW})", reason or TOO_FEW
    else:
        low, high = compared.interval
        measured += f" [{low:+z.1f}, {high:+z.1f}]"
        if not reason:
            verdict, reason = _above(compared.difference, compared.interval, claim.value)
    name = f"{column.name} {column.share}"
    return Finding(
        claim,
        compared.method,
        name,
        measured,
        verdict,
        reason,
        compared.difference,
        compared.interval,
    )


def _above(value: float, span: Interval, published: float) -> tuple[str, str]:
    """Return (verdict, reason) of a value that should be `published` or more, beyond noise."""
    low, high = span
    if high < published:
        return "not reproduced", f"the interval ends below {published:g}"
    if low <= 0:
        return "not reproduced", f"undecided: the interval holds 0 and {published:g}"
    if value < published:
        return "not reproduced", f"undecided: above 0, but {published:g} only within the interval"
    return "reproduced", f"{published:g} or more, and the interval is above 0"


def against_peft(claim: Claim, method: str, evidence: Evidence) -> Iterator[Finding]:
    """Yield, by data set and fraction, how many other PEFT methods the method is better than."""
    no_rivals = {*evidence.own, REFERENCE, *HEADS_ONLY}
    methods = evidence.statistics.table.methods
    others = [m for m in methods if base_name(m) not in no_rivals]
    for column in evidence.columns:
        found = [c for o in others if (c := evidence.compare(method, o, column))]
        if found:
            yield _counted(claim, method, column, found)


def _counted(claim: Claim, method: str, column: Column, found: list[Comparison]) -> Finding:
    known = [c for c in found if c.interval]
    better = sum(c.interval[0] > 0 for c in known if c.interval)
    # "better than all" needs every single difference; that one of many is better needs correction
    worse = sum(c.verdict == "worse" for c in corrected(known))
    measured = f"better than {better}, tied {len(known) - better - worse}, worse than {worse}"
    if column.synthetic:
        verdict, reason = "not comparable", SYNTHETIC
    elif not known:
        measured, verdict, reason = TOO_FEW, "not comparable", TOO_FEW
    elif better == len(found):
        verdict, reason = "reproduced", f"every interval against {better} methods is above 0"
    elif worse:
        verdict, reason = "not reproduced", f"better beyond noise: {worse} of them (Holm)"
    else:
        verdict, reason = "not reproduced", "undecided: ties, more seeds or patients are needed"
    name = f"{column.name} {column.share}"
    return Finding(claim, method, name, measured, verdict, reason, float(better))


def labels_saved(claim: Claim, method: str, evidence: Evidence) -> Iterator[Finding]:
    """Yield the share of labels that the method can do without at full fine-tuning's score."""
    for source in dict.fromkeys(c.source for c in evidence.columns):
        columns = [c for c in evidence.columns if c.source == source]
        whole = [c for c in columns if _whole(c) and evidence.scored(REFERENCE, c)]
        used = [c for c in columns if evidence.scored(method, c)]
        if not whole or len(used) < 2:
            why = (
                f"needs {REFERENCE} with all labels and two fractions of {method.partition('(')[0]}"
            )
            yield Finding(claim, method, columns[0].name, "", "not comparable", why)
            continue
        saved = curve.labels_saved(evidence.statistics.samples, method, REFERENCE, used, whole[0])
        yield _saved(claim, method, whole[0], saved)


def _saved(claim: Claim, method: str, column: Column, saved: curve.Saved) -> Finding:
    measured, verdict = curve.words(saved), "not comparable"
    if column.synthetic:
        reason = SYNTHETIC
    elif saved.interval is None:
        reason = TOO_FEW
    else:
        low, high = saved.interval
        bounded = (
            np.inf if high >= saved.most else high
        )  # fewer labels than the fewest were not tried
        verdict, reason = _above(saved.value, (low, bounded), claim.value)
    reason += f"; {REFERENCE} with all labels: {saved.target:.1f}"
    return Finding(
        claim, method, column.name, measured, verdict, reason, saved.value, saved.interval
    )


QUANTITIES: dict[str, Callable[[Claim, str, Evidence], Iterator[Finding]]] = {
    "parameter_share": parameter_share,
    "against_peft": against_peft,
    "kappa_gain": kappa_gain,
    "labels_saved": labels_saved,
    "storage_saved": storage_saved,
}
