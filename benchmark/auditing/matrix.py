"""Runs the checks over methods x families, in parallel, and compares what the methods became."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

import methods
from benchmark.auditing import checks, families, graph
from benchmark.auditing.checks import Check
from benchmark.auditing.shared import attached, images, trained
from benchmark.core.registry import unknown

CHECKS: dict[str, Check] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        checks.check_spec,
        checks.check_identity,
        checks.check_repeats,
        checks.check_count,
        checks.check_alive,
        checks.check_frozen,
        checks.check_pyramid,
        checks.check_delta,
        checks.check_calibration,
        checks.check_copy,
        checks.check_merge,
        checks.check_bfloat16,
        checks.check_double,
        checks.check_device,
        checks.check_learns,
        graph.check_checkpointing,
        graph.check_compile,
        graph.check_dynamic,
    )
}


@dataclass(frozen=True)
class Fault:
    """A check that failed, and why in one sentence."""

    check: str
    reason: str

    def __str__(self) -> str:
        return f"{self.check}: {self.reason}"


@dataclass(frozen=True)
class Verdict:
    """What the audit says of one method on one family: "pass", "n/a" or "fail", and why.

    `reason` says why a pair is not applicable, `faults` are all the checks that failed. `output`
    (B, D) is what the method computes after its three seeded steps.
    """

    method: str
    family: str
    state: str
    reason: str = ""
    faults: tuple[Fault, ...] = ()
    output: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def reasons(self) -> list[str]:
        """Return the sentences behind a verdict that is not "pass"."""
        return [self.reason] if self.reason else [str(fault) for fault in self.faults]


def applies(check: str, family: str) -> bool:
    """Return whether a check runs on a family: compilation is slow, one of each kind does."""
    return check != "compile" or family in families.SHALLOW


def examine(spec: str, family: str) -> Verdict:
    """Return the verdict on one pair, with every check that fails."""
    torch.set_num_threads(1)
    method = methods.build(spec)
    make = partial(families.make, family)
    try:
        reason = method.refusal(make())
    except Exception as error:  # such as a layer that other families lack
        return Verdict(spec, family, "fail", faults=(Fault("unsupported", _told(error)),))
    if reason:
        return Verdict(spec, family, "n/a", reason=reason)
    faults: list[Fault] = []
    # where it cannot even be attached, every check would say the same
    every = {"attach": attached, **CHECKS}
    for name, check in every.items():
        try:
            if applies(name, family):
                check(method, partial(make, shallow=True) if name == "compile" else make)
        except Exception as error:  # whatever a broken method raises is the finding
            if _told(error) not in {fault.reason for fault in faults}:
                faults.append(Fault(name, _told(error)))
            if name == "attach":
                break
    if faults:
        return Verdict(spec, family, "fail", faults=tuple(faults))
    body, _ = trained(method, make)
    with torch.no_grad():
        return Verdict(spec, family, "pass", output=body(images()).numpy())


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def twins(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return `verdicts` with a failure for each method that is the same function as another one.

    Equally seeded, trained alike, on the same images: equal outputs mean one method twice.
    """
    found = list(verdicts)
    pairs = itertools.combinations(enumerate(found), 2)
    for (_, a), (index, b) in pairs:
        if a.family != b.family or a.output is None or b.output is None:
            continue
        if methods.build(a.method).head != methods.build(b.method).head:
            continue  # they differ above the backbone
        if a.method == b.method or a.output.shape != b.output.shape:
            continue
        if np.allclose(a.output, b.output, atol=1e-6):
            fault = Fault("distinct", f"after the same steps its outputs are those of {a.method}")
            found[index] = replace(b, state="fail", faults=(*b.faults, fault))
    return found


def audit(
    specs: Sequence[str] | None = None,
    chosen: Sequence[str] | None = None,
    *,
    jobs: int = 1,
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
) -> list[Verdict]:
    """Return the verdicts on all pairs, in order; `jobs` processes share the work.

    `specs` are methods and `chosen` families of backbones; None: all of them.

    Raises:
        InputError: a method or a family that does not exist.
    """
    specs = list(methods.methods) if specs is None else specs
    chosen = list(families.FAMILIES) if chosen is None else chosen
    for spec in specs:
        methods.build(spec)
    for family in chosen:
        if family not in families.FAMILIES:
            raise unknown("family of backbones", family, families.FAMILIES)
    verdicts = []
    for verdict in _examined(list(itertools.product(specs, chosen)), jobs):
        on_verdict(verdict)
        verdicts.append(verdict)
    return twins(verdicts)


def _examined(pairs: list[tuple[str, str]], jobs: int) -> Iterator[Verdict]:
    if jobs == 1:
        yield from itertools.starmap(examine, pairs)
        return
    # forked children would inherit torch's locked thread pool
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(examine, *zip(*pairs, strict=True))
