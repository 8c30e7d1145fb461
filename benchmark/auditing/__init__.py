"""The audit: what every method must hold on every family of backbones, and who says so.

Works on any `methods.Method`, registered or not: `audit(["my_module:MyMethod"])`.
"""

from benchmark.auditing.matrix import CHECKS, Fault, Verdict, audit, examine, twins
from benchmark.auditing.shared import attached, images, trained

__all__ = [
    "CHECKS",
    "Fault",
    "Verdict",
    "attached",
    "audit",
    "examine",
    "images",
    "trained",
    "twins",
]
