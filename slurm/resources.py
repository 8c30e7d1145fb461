"""What a job asks for: `--slurm partition=gpu,gpus_per_node=1,...` as submitit's parameters."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.core.numbers import COUNT, FROM_ZERO
from benchmark.core.registry import InputError
from slurm.recovery import AGAIN, END, LOST, REQUEUE

# Options of this program, and those of sbatch whose values it has to know.
NUMBERS = (
    "timeout_min",
    "mem_gb",
    "cpus_per_task",
    "pack",
    "signal_delay_s",
    "max_num_timeout",
    "hang_min",
)
LISTS = ("setup", "srun_args")  # may be given several times
ZERO = ("hang_min", "max_num_timeout")  # may be 0
GPUS = ("gpus_per_node", "gpus", "gres")  # any of these may ask for GPUs
MEMORY = ("mem", "mem_per_cpu", "mem_per_gpu")  # sbatch's own words for mem_gb
# Those that this program sets itself, with the reason.
OURS = {
    "array": "jobs of a sweep are arrays already",
    "nodes": "each job runs on one node; more cells run as more jobs",
    "ntasks": "a job has a task per GPU, times pack",
    "ntasks_per_node": "a job has a task per GPU, times pack",
    "gpus_per_task": "say gpus_per_node; each GPU gets a task",
    "job_name": "the names of jobs say which sweep they belong to",
    "output": "logs are in sweeps/SWEEP/logs",
    "error": "logs are in sweeps/SWEEP/logs",
    "open_mode": "a job that is requeued adds to its log",
    "signal": "say signal_delay_s",
    "requeue": "jobs are requeued",
    "no_requeue": "jobs must be able to be requeued",
    "chdir": "jobs run in the copy of the code",
    "wrap": "the script is that of the sweep",
    "test_only": "use --dry-run",
    "parsable": "the output is read by this program",
}
# The other long options of sbatch 24.05, to recognise misspelt ones. Newer ones pass as well.
_SBATCH = """
account acctg_freq batch bb bbf begin cluster_constraint clusters comment constraint container
container_id contiguous core_spec cores_per_socket cpu_freq cpus_per_gpu deadline delay_boot
dependency distribution exclude exclusive export export_file extra extra_node_info get_user_env gid
gpu_bind gpu_freq gpus_per_socket gres_flags hint hold ignore_pbs input kill_on_invalid_dep licenses
mail_type mail_user mcs_label mem_bind mincpus network nice no_kill nodefile nodelist
ntasks_per_core ntasks_per_gpu ntasks_per_socket overcommit oversubscribe partition power prefer
priority profile propagate qos reboot reservation resv_ports segment sockets_per_node spread_job
stepmgr switches thread_spec threads_per_core time_min tmp tres_bind tres_per_task uid use_min_nodes
wait_all_nodes wckey x11
"""
KNOWN = (*NUMBERS, *LISTS, "python", "time", *GPUS, *MEMORY, *OURS, *_SBATCH.split())
GPU_CPUS, GPU_MEMORY_GB = 4, 16  # of a task with a GPU, where nothing else is asked for or known


@dataclass(frozen=True)
class Resources:
    """Resources of one job; `options` go to sbatch as they are.

    A job has one task per GPU, times `pack` (0: "auto", as records say, see `packing.groups`); each
    trains cells of its own. `python` is what starts Python in a step: this one, or a container's.
    """

    timeout_min: int | None = None
    mem_gb: int | None = None
    cpus_per_task: int = 1
    gpus: int = 0
    pack: int = 1
    signal_delay_s: int = 90
    max_num_timeout: int = 10
    hang_min: int = 60
    setup: tuple[str, ...] = ()
    srun_args: tuple[str, ...] = ()
    python: str = field(default_factory=lambda: shlex.quote(sys.executable))
    options: dict[str, str | bool] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Return the number of tasks of a job."""
        return max(1, self.gpus) * max(1, self.pack)

    def sharing(self, num_cells: int) -> int:
        """Return how many tasks of a job with so many cells may train on one GPU at once."""
        return min(max(1, self.pack), num_cells) if self.gpus else 1

    @property
    def limit_min(self) -> int:
        """Return the time limit in minutes."""
        return self.timeout_min or 60

    @property
    def sizes_memory(self) -> bool:
        """Return whether the memory of a job is still to be chosen."""
        return self.mem_gb is None and not any(name in self.options for name in MEMORY)

    def parameters(self, name: str, max_parallel: int, setup: list[str], sweep: str) -> dict:
        """Return the parameters of `submitit.SlurmExecutor`."""
        more = {key: value for key, value in self.options.items() if key != "wckey"}
        values: dict[str, Any] = {
            "job_name": name,
            "time": self.limit_min,
            "ntasks_per_node": self.tasks,
            "cpus_per_task": self.cpus_per_task,
            "array_parallelism": max_parallel,
            "signal_delay_s": self.signal_delay_s,
            "setup": setup,
            "teardown": self._teardown(sweep),
            # submitit always sends a wckey of its own, which sites that check them refuse
            "wckey": self.options.get("wckey"),
            # a node that fails gives its jobs back to the queue
            "additional_parameters": {"requeue": True, **more},
        }
        if self.mem_gb:
            values["mem"] = f"{self.mem_gb}G"
        if self.srun_args:
            values["srun_args"] = list(self.srun_args)
        return values

    def _teardown(self, sweep: str) -> list[str]:
        """Return the shell lines after the step: `slurm.recovery` decides, the shell does it."""
        # only after a bad end: it costs a start of Python
        ask = f"{self.python} -m slurm.recovery {shlex.quote(sweep)} $code {self.max_num_timeout}"
        if self.srun_args:  # in the container of the step, where there is a Python
            ask = f"srun --ntasks=1 {shlex.join(self.srun_args)} {ask}"
        results = f"{shlex.quote(sweep)}/logs/${{BENCH_JOB}}_${{rank}}_result.pkl"
        return [
            "code=$?",
            "kill $silence 2>/dev/null",
            # srun says 0, too, where slurmstepd was killed and its step is missing; a task that has
            # come to its end has left what it returned
            f"for rank in {' '.join(map(str, range(self.tasks)))}; do",
            f'    [ "$code" -ne 0 ] || [ -e {results} ] || code={LOST}',
            "done",
            'if [ "$code" -ne 0 ]; then',
            f"    {ask}",
            "    next=$?",
            # Python itself may be what is broken: then a killed job is requeued a few times
            f'    case "$next" in {END} | {REQUEUE} | {AGAIN}) ;; *)',
            '        if [ "$code" -gt 128 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then',
            f"            next={REQUEUE}",
            "        fi ;;",
            "    esac",
            f'    if [ "$next" -eq {AGAIN} ]; then',
            "        export BENCH_TRY=$((BENCH_TRY + 1))",
            '        exec bash "$0"',
            f'    elif [ "$next" -eq {REQUEUE} ]; then',
            '        scontrol requeue "$BENCH_JOB"',
            "    fi",
            "fi",
            'exit "$code"',
        ]


def parse(text: str | Sequence[str]) -> Resources:
    """Return the resources of "partition=gpu,timeout_min=120"; "" gives the defaults.

    Any long option of sbatch is taken, with `_` or `-`. An item without "=" belongs to the value
    before it (`partition=a,b`), and quotes keep anything together (`setup="export A=1, B=2"`).

    Raises:
        InputError: a misspelt name, a value that is no whole number where one is needed, an option
            that is given twice, or one that this program sets itself.
    """
    texts = [text] if isinstance(text, str) else text
    values: dict[str, Any] = {"setup": (), "srun_args": ()}
    options: dict[str, str | bool] = {}
    for name, value in (pair for item in texts for pair in _pairs(item)):
        if (name in values and name not in LISTS) or name in options:
            raise InputError(f"{name} is given twice in --slurm")
        if name in OURS:
            raise InputError(f"{name}={value} in --slurm is not possible: {OURS[name]}")
        if name == "time":
            name, value = "timeout_min", str(_minutes(value))
        if (name, value) == ("pack", "auto"):
            values[name] = 0
        elif name in NUMBERS:
            values[name] = _number(name, value)
        elif name == "setup":
            values["setup"] += (value,)
        elif name == "srun_args":
            values["srun_args"] += tuple(shlex.split(value))
        elif name == "python":
            values["python"] = value
        else:
            # An option that is like none of these may be one of a newer Slurm: sbatch decides. One
            # that is nearly one of these is a slip, and is better said here than by sbatch.
            near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)
            if name not in KNOWN and near:
                raise InputError(
                    f"unknown Slurm option {name!r}; did you mean {near[0]!r}? Options of sbatch "
                    f"pass as they are; this program adds {', '.join((*NUMBERS, *LISTS, 'python'))}"
                )
            options[name] = {"true": True}.get(value, value)
    if sum(name in (*values, *options) for name in ("mem_gb", *MEMORY)) > 1:
        raise InputError("--slurm asks for memory in two ways; mem_gb= is enough")
    values["gpus"] = max(
        (_gpus(name, str(options[name])) for name in GPUS if name in options), default=0
    )
    if not values["gpus"]:
        options = {k: v for k, v in options.items() if k not in GPUS or k == "gres"}
    else:
        # one core cannot feed a GPU, and Slurm's default memory per core does not hold its driver
        values.setdefault("cpus_per_task", GPU_CPUS)
    return Resources(**values, options=options)


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the (name, value) pairs of a comma list; quotes and brackets hold commas."""
    items, depth, quote, word = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and not quote and depth <= 0:
            items.append(word)
            word = ""
        else:
            word += character
    if quote:
        raise InputError(f"a {quote} is not closed in --slurm {text!r}")
    pairs: list[tuple[str, str]] = []
    for item in [*items, word] if text.strip() else []:
        match = re.fullmatch(r"\s*([A-Za-z][\w-]*)=(.*)", item, re.DOTALL)
        if match:
            pairs.append((match[1].replace("-", "_"), match[2].strip()))
        elif pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{item.strip()}")
        else:
            raise InputError(f"{item.strip()!r} in --slurm is not name=value")
    for number, (name, value) in enumerate(pairs):
        # quotes around all of it go; those inside are the shell's, such as in setup=echo "a, b"
        match = re.fullmatch(r"""(["'])(.*)\1""", value)
        if match and match[1] not in match[2]:
            pairs[number] = (name, match[2])
        # a line of its own in the script would be a command, or another option
        if not pairs[number][1].strip() or not value.isprintable():
            raise InputError(f"{name}= in --slurm needs a value, in one line")
    return pairs


def _number(name: str, value: str) -> int:
    return (FROM_ZERO if name in ZERO else COUNT).read(value, f"{name} in --slurm:")


def _minutes(value: str) -> int:
    """Return the minutes of a time as sbatch writes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    match = re.fullmatch(
        r"(?:([0-9]{1,4})-)?([0-9]{1,6})(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?", value
    )
    if not match:
        raise InputError(f"time={value} in --slurm is no time; write minutes, H:M:S or D-H:M:S")
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] or match[4]:  # the first number is hours
        return 1440 * days + 60 * first + second + (third > 0)
    return first + (second > 0)


def _gpus(name: str, value: str) -> int:
    """Return how many GPUs "2", "a100:2" or "gpu:a100:2,shard:1" are."""
    parts = value.split(",") if name == "gres" else [value]
    count = 0
    for part in parts:
        kind, _, rest = part.partition("(")[0].removeprefix("gres/").partition(":")
        if name == "gres" and kind != "gpu":
            continue
        number = (rest if name == "gres" else part).rpartition(":")[2]
        if name == "gres" and not re.fullmatch("[0-9]+", number):
            count += 1  # gpu, or gpu:a100: one of them
        elif re.fullmatch("[0-9]+", number):
            count += int(number)
        else:
            raise InputError(f"{name}={value} in --slurm must be a number, or TYPE:NUMBER")
    return count
