"""What the logs of a job say about how it ended.

Slurm has words of its own for that (TIMEOUT, OUT_OF_MEMORY, NODE_FAIL), but only where accounting
is kept. The error log of the batch script is there on every cluster, and slurmstepd writes into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

START = "start of run"  # first words of each run of a job in its error log, which all runs share
NO_ANSWER = "no answer to the signal of the time limit"
TAIL_BYTES = 16384

# (kind, how it shows, what is said of it); the first that fits. The texts hold no number of a job,
# so that equal reasons of many jobs are one line.
_SIGNS = (
    (
        "oom",
        r"oom[-_ ]kill|exceeded memory limit|Out Of Memory|OUT_OF_MEMORY",
        "OUT_OF_MEMORY: killed for memory; mem_gb= or --retry-mem gives more",
    ),
    ("hang", r"(?m)^Timeout \(\d+:\d\d:\d\d\)!$", "no training step for too long (hang_min)"),
    (
        "timeout",
        rf"DUE TO TIME LIMIT|{NO_ANSWER}",
        "TIMEOUT: ended by the time limit; timeout_min= or --retry-time gives more",
    ),
    ("node", r"DUE TO NODE FAIL", "NODE_FAIL: its node failed"),
    ("preempted", r"DUE TO PREEMPTION", "PREEMPTED"),
    ("cancelled", r"CANCELLED AT", "CANCELLED"),
)
# Lines that follow from another line and say less than it.
_NOISE = re.compile(
    rf"^{START}|submitit (INFO|WARNING)|^srun: (error: .*: (Exited with exit code|"
    r"Terminated|Killed)|Job step aborted|Terminating|launch/slurm|Force Terminated|"
    r"error: Timed out waiting)|^slurmstepd: (info|error: \*\*\*)|^\s*$|^scontrol|"
    r"^  File |^Traceback|^\s+\^*\s*$|^Thread 0x|^Current thread|Submitted job triggered"
)
# the shell names the copy of the script that a node keeps for this one job
_NAMES = re.compile(
    r"^((srun|slurmstepd): (error: )?([\w.-]+: )?(tasks? [\d,-]+: )?"
    r"|\S*/slurm_script: (line \d+: )?)"
)


@dataclass(frozen=True)
class Ending:
    """How a run of a job ended: its kind ("" if the log does not tell) and a reason for people."""

    kind: str
    reason: str


def last_run(log: Path) -> str:
    """Return what the last run of a job wrote into its log; "" where there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    # a job that is requeued adds to its log: what killed an earlier run is no news
    return re.split(rf"(?m)^{START}\b.*$", text)[-1]


def ending(text: str) -> Ending | None:
    """Return how a run ended, from its error log; None where it does not say anything."""
    for kind, pattern, reason in _SIGNS:
        if re.search(pattern, text):
            return Ending(kind, reason)
    line = last_line(text)
    return Ending("", line) if line else None


def last_line(text: str) -> str:
    """Return the last line that is a reason, without the names of tasks, nodes and jobs, or ""."""
    lines = [line for line in text.splitlines() if not _NOISE.search(line)]
    return _NAMES.sub("", lines[-1].strip())[:200] if lines else ""
