"""Sweeps on a real Slurm: `slurm/local_cluster.sh run pytest -m slurm`.

Every test counts from the job logs how often each cell was trained to its end: once.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.sweep.claims import read

ROOT = Path(__file__).parents[1]
LONG = ["--steps", "600", "--evaluations", "20", "--fractions", "0.1"]
SHORT = ["--steps", "4", "--evaluations", "2", "--fractions", "0.1"]

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def _cluster():
    answers = (
        shutil.which("sinfo") and not subprocess.run(["sinfo"], capture_output=True).returncode
    )
    if not answers:
        pytest.skip("no Slurm answers; slurm/local_cluster.sh run pytest -m slurm")
    yield
    subprocess.run(["scancel", "--me", "--full", "--signal=KILL"], capture_output=True)
    subprocess.run(["scancel", "--me"], capture_output=True)
    subprocess.run(["scontrol", "update", "nodename=n1,n2", "state=resume"], capture_output=True)


def benchmark(*arguments, timeout=600, path=""):
    command = [sys.executable, "-m", "benchmark", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=environment
    )


DECODED = []  # images that were decoded once, for the runs folders to come


def with_images(runs):
    """Make a runs folder that need not decode the images again."""
    if DECODED and not (runs / "cache").exists():
        shutil.copytree(DECODED[0], runs / "cache")


def submit(runs, *arguments, slurm="mem_gb=2", per_job=2, backbone="tiny_vit"):
    with_images(runs)
    command = ["run", "--executor", "slurm", "--runs", runs, "--slurm", slurm]
    command += ["--backbones", backbone, "--batch-size", "8", "--cells-per-job", per_job]
    answer = benchmark(*command, *arguments)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def wait_for(condition, seconds=400):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.3)
    return found


def queue(state=None):
    """Return the jobs of this user; a controller that does not answer has not said "none"."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    command += ["--states", state] if state else []

    def asked():
        answer = subprocess.run(command, capture_output=True, text=True)
        return None if answer.returncode else answer

    return wait_for(asked).stdout.split()


def occupy(seconds=1000, partition="main"):
    """Take all nodes, so that jobs wait; return the job that does it."""
    command = ["sbatch", "--parsable", f"--partition={partition}", "--exclusive", "--nodes=2"]
    command += ["--output=/dev/null", "--wrap", f"sleep {seconds}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def records(runs):
    return {
        p.parent.relative_to(runs): json.loads(p.read_text()) for p in runs.rglob("record.json")
    }


def claims(runs):
    return [json.loads(path.read_text()) for path in runs.rglob("claim.json")]


def training(runs):
    """Return the live claims of cells that have a checkpoint, so that something could be lost."""
    found = [read(path.parent) for path in runs.rglob("checkpoint.pt")]
    return [owner for owner in found if owner and owner.is_alive()]


def held(runs):
    """Stop the process of a cell in training; return its pid, or None while there is none.

    A fast machine would be done before the fault comes. Slurm wakes what it terminates.
    """
    for owner in training(runs):
        with suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGSTOP)
            if any(found.pid == owner.pid for found in training(runs)):
                return owner.pid
            os.kill(owner.pid, signal.SIGCONT)  # its cell ended in between
    return None


def trained(runs):
    """Return how often each cell was trained to its end, from the logs of all jobs."""
    logs = [path.read_text() for path in runs.glob("sweeps/*/logs/*_log.out")]
    return Counter(re.findall(r"^\S+ done (\S+) $", "\n".join(logs), re.MULTILINE))


def numbers(record):
    return {name: record[name] for name in ("val", "test", "history", "selected_step")}


def assert_each_once(runs, count):
    found = trained(runs)
    assert len(found) == count
    assert set(found.values()) == {1}
    assert len(records(runs)) == count
    assert not claims(runs)


def killed_submission(folder, runs, *arguments, after):
    """Run a submission whose process is killed as soon as its sbatch number `after` has answered.

    The arrays hold two tasks each, as if the site allowed no more.
    """
    with_images(runs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbatch").write_text(
        "#!/bin/bash\n"
        f'{shutil.which("sbatch")} "$@" || exit\n'
        "[[ $1 == --* ]] && exit\n"
        f'echo x >>"{folder}/calls"; (($(wc -l <"{folder}/calls") < {after})) || kill -9 $PPID\n'
    )
    (folder / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize = 3'\n")
    for name in ("sbatch", "scontrol"):
        (folder / name).chmod(0o755)
    (folder / "calls").unlink(missing_ok=True)
    command = ["run", "--executor", "slurm", "--runs", runs, "--slurm", "mem_gb=2"]
    command += ["--backbones", "tiny_vit", "--batch-size", "8", "--cells-per-job", 2, *arguments]
    answer = benchmark(*command, path=folder)
    assert answer.returncode == -signal.SIGKILL, answer.stderr


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    """Return the records of the long cells, trained in this process without any fault."""
    runs = tmp_path_factory.mktemp("inline") / "runs"
    answer = benchmark(
        "run", "--runs", runs, "--backbones", "tiny_vit", "--batch-size", "8",
        "--methods", "lora(rank=2),bitfit", *LONG,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    DECODED.append(runs / "cache")
    return records(runs)


def assert_same_as(inline, runs):
    found = records(runs)
    assert found.keys() == inline.keys()
    for slug, record in found.items():
        assert numbers(record) == numbers(inline[slug])


def crash_node(pid):
    """Kill all slurmd, and the step and the process of a cell, and bring slurmd back."""
    step = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    for path in (Path(os.environ["SLURM_CONF"]).parents[1] / "run").glob("slurmd-*.pid"):
        os.kill(int(path.read_text()), signal.SIGKILL)
    for number in (int(step), pid):
        os.kill(number, signal.SIGKILL)
    time.sleep(3)
    command = [ROOT / "slurm" / "local_cluster.sh", "start"]
    subprocess.run(command, check=True, capture_output=True)


def start_long(runs, per_job=2, **options):
    """Submit the long cells, and return the pid of a process that stands still in one of them."""
    submit(runs, "--methods", "lora(rank=2),bitfit", *LONG, per_job=per_job, **options)
    return wait_for(lambda: held(runs))


def test_24_cells_as_arrays(tmp_path):
    runs = tmp_path / "runs"
    methods = "lora(rank=2),bitfit,norm,linear"
    told = submit(runs, "--methods", methods, "--seeds", "0,1,2,3,4,5", *SHORT, per_job=4)
    assert "24 cells in 6 jobs" in told
    again = submit(runs, "--methods", methods, "--seeds", "0,1,2,3,4,5", *SHORT)
    # some may have ended by now, and some more between the look at the disk and that at the queue
    to_do = int(re.match(r"24 cells: (\d+) to do", again)[1])
    waiting = re.search(r"(\d+) cells are in the queue already", again)
    assert int(waiting[1] if waiting else 0) <= to_do
    assert "jobs" not in again  # nothing was submitted twice
    wait_for(lambda: not queue())
    assert_each_once(runs, 24)
    status = benchmark("status", "--runs", runs)
    assert (status.returncode, status.stdout.splitlines()[0]) == (
        0, "24 done, 0 to do, 0 failed, 0 unsupported",
    )  # fmt: skip


def test_killed_with_9_the_job_continues_with_the_same_result(tmp_path, inline):
    runs = tmp_path / "runs"
    os.kill(start_long(runs), signal.SIGKILL)
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_preempted_the_cell_is_checkpointed_and_continues_with_the_same_result(tmp_path, inline):
    runs = tmp_path / "runs"
    start_long(runs, slurm="mem_gb=2,partition=low")
    occupy(3, "high")
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_timed_out_the_cell_is_requeued_and_continues_with_the_same_result(tmp_path, inline):
    runs = tmp_path / "runs"
    start_long(runs, slurm="mem_gb=2,timeout_min=1,signal_delay_s=56")
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    logs = "".join(path.read_text() for path in runs.glob("sweeps/*/logs/*_log.err"))
    assert logs.count("start of run") > 1  # a slow machine is timed out again, and goes on
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_cancelled_and_run_again(tmp_path, inline):
    runs = tmp_path / "runs"
    start_long(runs)
    assert "1 jobs cancelled" in benchmark("cancel", "--runs", runs).stdout
    wait_for(lambda: not queue())
    assert benchmark("status", "--runs", runs).returncode == 3
    submit(runs, "--methods", "lora(rank=2),bitfit", *LONG)
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_a_node_goes_down_and_its_cells_run_elsewhere(tmp_path, inline):
    runs = tmp_path / "runs"
    start_long(runs)
    node = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%N"], capture_output=True, text=True
    ).stdout.split()[0]
    down = ["scontrol", "update", f"nodename={node}", "state=down", "reason=test"]
    subprocess.run(down, check=True)
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_two_sweeps_and_a_local_run_never_train_a_cell_twice(tmp_path):
    runs = tmp_path / "runs"
    arguments = ["--methods", "lora(rank=2),bitfit,norm,linear", "--seeds", "0,1", *SHORT]
    command = [sys.executable, "-m", "benchmark", "run", "--runs", str(runs), "--batch-size", "8"]
    command += ["--backbones", "tiny_vit", *arguments]
    slurm = ["--executor", "slurm", "--cells-per-job", "2", "--slurm", "mem_gb=2"]
    started = [
        subprocess.Popen(command + extra, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for extra in ([], slurm, slurm)
    ]
    for process in started:
        assert process.wait(600) == 0
    wait_for(lambda: not queue())
    found = trained(runs)
    assert len(records(runs)) == 8
    assert all(count == 1 for count in found.values())
    starts = Counter(path.parent for path in runs.rglob("delta.safetensors"))
    assert len(starts) == 8


def test_the_controller_restarts(tmp_path, inline):
    runs = tmp_path / "runs"
    pid = start_long(runs)
    subprocess.run([ROOT / "slurm" / "local_cluster.sh", "restart"], check=True)
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_a_step_that_slurm_lost_runs_again_and_its_siblings_do_not(tmp_path, inline):
    """Slurm tells its script that all is well, as srun knows of no task that has failed."""
    runs = tmp_path / "runs"
    crash_node(start_long(runs, per_job=1))
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    logs = [path.read_text() for path in runs.glob("sweeps/*/logs/*_log.err")]
    assert sorted(text.count("start of run") for text in logs) == [1, 2]
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


@pytest.mark.parametrize(
    ("slurm", "message"),
    [
        ("partition=nowhere", "invalid partition"),
        ("mem_gb=9999", "Requested node configuration is not available"),
        ("cpus_per_task=500", "More processors requested than permitted"),
        ("partitoin=main", "did you mean 'partition'"),
        ("mem_gb=much", "must be a whole number above 0"),
    ],
)
def test_what_slurm_cannot_give_is_one_sentence_and_nothing_is_submitted(tmp_path, slurm, message):
    runs = tmp_path / "runs"
    answer = benchmark(
        "run", "--executor", "slurm", "--runs", runs, "--slurm", slurm,
        "--backbones", "tiny_vit", "--methods", "linear", *SHORT,
    )  # fmt: skip
    assert answer.returncode == 2
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not queue()
    assert not list(runs.glob("sweeps/*"))


def test_a_submitter_killed_half_way_is_continued_by_the_second_run(tmp_path):
    runs = tmp_path / "runs"
    arguments = ["--methods", "lora(rank=2),bitfit,norm,linear", "--seeds", "0,1", *SHORT]
    killed_submission(
        tmp_path / "bin", runs, *arguments, after=2
    )  # of two arrays: no task's pickle
    told = submit(runs, *arguments)
    wait_for(lambda: not queue())
    assert " cells in 2 jobs" in told  # those of the second array; or all, if the first has ended
    assert_each_once(runs, 8)
    assert not list(runs.glob("sweeps/claim*"))


# Methods that are right until they train: BitFit with a hook.
NASTY = """
import os, signal, time
from dataclasses import dataclass
import torch
from methods.bitfit import BitFit

@dataclass(frozen=True)
class Nasty(BitFit):
    def edit(self, backbone):
        super().edit(backbone)
        backbone.register_forward_pre_hook(lambda module, inputs: self.act(module, inputs[0]))

@dataclass(frozen=True)
class Greedy(Nasty):
    def act(self, module, images):
        if module.training and len(images) > 4:
            ballast = torch.ones(500_000_000)
            time.sleep(5)
            assert len(ballast)

@dataclass(frozen=True)
class Hungry(Nasty):
    def act(self, module, images):
        ballast = [torch.ones(500_000_000)] * module.training
        time.sleep(5 * module.training)
        assert len(ballast) < 2

@dataclass(frozen=True)
class Segv(Nasty):
    def act(self, module, images):
        if module.training:
            os.kill(os.getpid(), signal.SIGSEGV)

@dataclass(frozen=True)
class Hang(Nasty):
    def act(self, module, images):
        while module.training:
            time.sleep(1)
"""


@pytest.fixture
def nasty(tmp_path, monkeypatch):
    """Put a module with methods that kill their process on the path of this user."""
    (tmp_path / "nasty.py").write_text(NASTY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")


def test_a_job_killed_for_memory_goes_on_with_half_as_many_images_at_once(tmp_path, nasty):
    runs = tmp_path / "runs"
    submit(runs, "--methods", "nasty:Greedy", *SHORT, slurm="mem_gb=2")
    (tmp_path / "nasty.py").write_text("raise SystemExit('an edit that must not leak')")
    wait_for(lambda: not queue())
    (record,) = records(runs).values()
    assert record["cost"]["micro_batch"] == 4
    assert record["cell"]["batch_size"] == 8
    assert_each_once(runs, 1)


def test_a_cell_that_kills_its_process_is_given_up_and_its_job_mates_are_trained(tmp_path, nasty):
    runs = tmp_path / "runs"
    methods = "nasty:Segv,norm,linear"  # the first of its job
    submit(runs, "--methods", methods, *SHORT, slurm="mem_gb=2", per_job=3)
    wait_for(lambda: not queue())
    assert_each_once(runs, 2)
    status = benchmark("status", "--runs", runs)
    assert status.returncode == 1
    assert "2 done, 0 to do, 1 failed" in status.stdout
    assert "nasty_Segv" in status.stdout
    assert "its process died 3 times: Segmentation fault (SIGSEGV)" in status.stdout
    assert benchmark("cancel", "--runs", runs).stdout.startswith("0 jobs")


def test_a_preemption_in_the_first_second_is_survived(tmp_path):
    runs = tmp_path / "runs"
    submit(runs, "--methods", "bitfit", *LONG, slurm="mem_gb=2,partition=low")
    wait_for(lambda: queue("running"))
    occupy(1, "high")  # Python has not even begun to import torch
    wait_for(lambda: not queue())
    (log,) = runs.glob("sweeps/*/logs/*_0_log.err")
    assert log.read_text().count("start of run") == 2
    assert_each_once(runs, 1)


def test_an_edited_snapshot_trains_nothing_and_says_so(tmp_path):
    runs = tmp_path / "runs"
    blocker = occupy()
    submit(runs, "--methods", "bitfit", *SHORT)
    (code,) = runs.glob("sweeps/*/code/benchmark/training/run.py")
    code.write_text(code.read_text() + "# edited\n")
    subprocess.run(["scancel", blocker], check=True)
    wait_for(lambda: not queue())
    status = benchmark("status", "--runs", runs)
    assert status.returncode == 3
    assert "is missing or was edited since it was submitted; nothing was trained" in status.stdout
    assert not records(runs)
    submit(runs, "--methods", "bitfit", *SHORT)
    wait_for(lambda: not queue())
    assert_each_once(runs, 1)


def test_the_limit_of_requeues_is_told_and_run_goes_on(tmp_path, inline):
    runs = tmp_path / "runs"
    pid = start_long(runs, slurm="mem_gb=2,timeout_min=10,max_num_timeout=1")
    for again in (True, False):
        subprocess.run(["scancel", "--signal=USR2", *queue("running")], check=True)
        os.kill(pid, signal.SIGCONT)  # scancel wakes nobody for a signal of one's own choice
        wait_for(lambda: not queue("running"))
        if again:
            pid = wait_for(lambda: queue("running") and held(runs))
    wait_for(lambda: not queue())
    told = benchmark("status", "--runs", runs).stdout
    assert "timed-out too many times" in told
    submit(runs, "--methods", "lora(rank=2),bitfit", *LONG)
    wait_for(lambda: not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_weights_that_a_node_lacks_are_one_sentence_in_status(tmp_path, monkeypatch):
    import timm
    from safetensors.torch import save_file

    runs, path = tmp_path / "runs", tmp_path / "w.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), path)
    blocker = occupy()
    submit(runs, "--methods", "bitfit", "--image-size", "32", *SHORT,
           backbone=f"file:{path}@resnet10t")  # fmt: skip
    path.unlink()
    subprocess.run(["scancel", blocker], check=True)
    wait_for(lambda: not queue())
    status = benchmark("status", "--runs", runs)
    assert status.returncode == 1
    assert f"no weights file '{path}'" in status.stdout


def test_two_tasks_share_a_job_and_a_preemption(tmp_path, inline):
    runs = tmp_path / "runs"
    start_long(runs, slurm="mem_gb=4,partition=low,pack=2")
    occupy(1, "high")
    wait_for(lambda: len(records(runs)) == 2 and not queue())
    assert_each_once(runs, 2)
    assert_same_as(inline, runs)


def test_the_same_numbers_inline_in_workers_and_on_slurm(tmp_path, inline):
    executors = {"local": [], "slurm": ["--slurm", "mem_gb=2"]}
    for name, more in executors.items():
        runs = tmp_path / name
        answer = benchmark(
            "run", "--runs", runs, "--backbones", "tiny_vit", "--batch-size", "8",
            "--methods", "lora(rank=2),bitfit", *LONG, "--executor", name, *more,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        wait_for(lambda: not queue())
        assert_same_as(inline, runs)


def test_start_status_and_stop_of_the_local_cluster_work_twice(tmp_path):
    command = str(ROOT / "slurm" / "local_cluster.sh")
    own = {"SLURM_LOCAL_PORT": "47300", "SLURM_LOCAL_DIR": f"/tmp/bench-slurm-{os.getpid()}"}
    verbs = ["start", "start", "status", "stop", "stop", "start", "status", "stop"]
    codes = [subprocess.run([command, verb], env=os.environ | own).returncode for verb in verbs]
    shutil.rmtree(own["SLURM_LOCAL_DIR"])
    assert codes == [0] * len(verbs)
