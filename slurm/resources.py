"""What a job asks for: `--slurm partition=gpu,gpus_per_node=1,...` as submitit's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmark.core.registry import InputError, unknown
from benchmark.core.spec import split_list

TEXTS = ("partition", "account", "qos", "constraint", "gres", "nodelist", "exclude", "setup")
NUMBERS = (
    "timeout_min",
    "mem_gb",
    "cpus_per_task",
    "gpus_per_node",
    "pack",
    "signal_delay_s",
    "max_num_timeout",
)
LIVES = 3
# A process killed from outside (-9, memory) says no word; its job gets three more lives.
REVIVE = [
    "code=$?",
    f'if [ "$code" -eq 137 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {LIVES} ]; then',
    '    scontrol requeue "$SLURM_JOB_ID"',
    'elif [ "$code" -eq 137 ]; then',
    f'    echo "a process of this job was killed, and it was started {LIVES} times again" >&2',
    "fi",
    'exit "$code"',
]


@dataclass(frozen=True)
class Resources:
    """Resources of one job; `options` go to sbatch as they are.

    A job has one task per GPU, times `pack`: each task trains cells of its own.
    """

    timeout_min: int | None = None
    mem_gb: int | None = None
    cpus_per_task: int = 1
    gpus_per_node: int = 0
    pack: int = 1
    signal_delay_s: int = 90
    max_num_timeout: int = 10
    setup: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Return the number of tasks of a job."""
        return max(1, self.gpus_per_node) * self.pack

    def parameters(self, name: str, max_parallel: int, setup: list[str]) -> dict[str, Any]:
        """Return the parameters of `submitit.SlurmExecutor`."""
        found: dict[str, Any] = {
            "job_name": name,
            "time": self.timeout_min or 60,
            "ntasks_per_node": self.tasks,
            "cpus_per_task": self.cpus_per_task,
            "array_parallelism": max_parallel,
            "signal_delay_s": self.signal_delay_s,
            "setup": [*([self.setup] if self.setup else []), *setup],
            "teardown": REVIVE,
            # a node that fails gives its jobs back to the queue
            "additional_parameters": {"requeue": True},
            **self.options,
        }
        if self.mem_gb:
            found["mem"] = f"{self.mem_gb}G"
        if self.gpus_per_node:
            found["gpus_per_node"] = self.gpus_per_node
        return found


def parse(text: str) -> Resources:
    """Return the resources of "partition=gpu,timeout_min=120"; "" gives the defaults.

    Raises:
        InputError: an unknown name, or a value that is no whole number above 0 where one is needed.
    """
    values: dict[str, Any] = {"options": {}}
    for item in split_list(text) if text else []:
        name, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"{item!r} in --slurm is not name=value")
        if name not in (*TEXTS, *NUMBERS):
            raise unknown("Slurm option", name, (*TEXTS, *NUMBERS))
        if name in NUMBERS:
            values[name] = _number(name, value)
        elif name == "setup":
            values[name] = value
        else:
            values["options"][name] = value
    return Resources(**values)


def _number(name: str, value: str) -> int:
    if not value.isdigit() or (int(value) == 0 and name != "gpus_per_node"):
        raise InputError(f"{name}={value} in --slurm must be a whole number above 0")
    return int(value)
