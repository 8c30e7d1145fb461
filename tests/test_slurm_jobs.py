"""From cells to jobs: batches, groups by need, resources, the script for sbatch, submission."""

import dataclasses
import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch
from sweep_helpers import CELL, cells, fake, known, with_images

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from benchmark.execution import workers
from benchmark.sweep import estimate
from slurm import packing, submit
from slurm.executor import Request
from slurm.resources import parse


def test_auto_fills_fifteen_minutes_and_keeps_what_shares_a_session_together():
    batches = packing.batches(cells(10), "auto", known(3.0))  # 300 s each
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    mixed = [
        cell for pair in zip(cells(4), cells(4, backbone="other"), strict=True) for cell in pair
    ]
    split = packing.batches(mixed, "4", known(1.0))
    assert [{cell.backbone for cell in batch} for batch in split] == [{"other"}, {"tiny_vit"}]


def test_predictions_come_from_records_and_name_what_is_unknown(tmp_path):
    told = {"cell": dataclasses.asdict(CELL), "cost": {"train_s": 50.0, "peak_mib": 700.0}}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text(json.dumps(told))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_text("{half")
    found = estimate.read(tmp_path)
    assert found.seconds(dataclasses.replace(CELL, steps=200)) == pytest.approx(110.0)
    assert found.mib([CELL]) == 700.0
    seconds, unknown = found.total_s([CELL, dataclasses.replace(CELL, method="lora")])
    assert (round(seconds, 6), unknown) == (55.0, 1)


def test_arrays_stay_under_the_limit_of_the_site():
    batches = [[cell] for cell in cells(2503)]
    arrays = submit.chunks(batches, 1000)
    assert [len(array) for array in arrays] == [1000, 1000, 503]
    assert [cell for array in arrays for batch in array for cell in batch] == cells(2503)


def test_the_sbatch_text_is_this(tmp_path):
    resources = parse("partition=gpu,gpus_per_node=2,mem_gb=16,cpus_per_task=4,timeout_min=120")
    array = packing.Group(resources, [[CELL]] * 3)
    text = submit.sbatch_text(array, "bench-S-0", Path("/runs/sweeps/S/code"), 8)
    text = text.replace(array.resources.python, "PYTHON").replace(str(Path.cwd()), "/home/me")
    assert text == (Path(__file__).parent / "golden_sbatch.txt").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin=gpu", "did you mean 'partition'"),
        ("partition", "is not name=value"),
        ("mem_gb=0", "must be a whole number above 0"),
        ("timeout_min=1h", "must be a whole number above 0"),
        ("mem_gb=²", "must be a whole number above 0"),
        ("pack=0", "must be a whole number above 0"),
        ("partition=a,partition=b", "partition is given twice"),
        ("time=60,timeout_min=30", "timeout_min is given twice"),
        ("mem_gb=4,mem=8G", "asks for memory in two ways"),
        ("array=0-3", "array=0-3 in --slurm is not possible: jobs of a sweep are arrays"),
        ("nodes=2", "each job runs on one node"),
        ("gpus_per_node=a100", "must be a number, or TYPE:NUMBER"),
        ("time=tomorrow", "is no time; write minutes"),
        ("setup=", "needs a value"),
        ('setup="module load x', "is not closed"),
        ("comment='a\nb'", "in one line"),
    ],
)
def test_bad_resources_are_one_sentence(text, message):
    with pytest.raises(InputError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value).replace("a\nb", "")


def script_of(asked, tmp_path=Path("/runs/sweeps/S")):
    """Return the lines of the script that sbatch is given for --slurm `asked`."""
    array = packing.Group(parse(asked), [[CELL]] * 3)
    return submit.sbatch_text(array, "bench-S-0", tmp_path / "code", 8).splitlines()


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("partition=a,b", "--partition=a,b"),
        ("partition='a,b',mem_gb=4", "--partition=a,b"),
        ("nodelist=n[1,3-5],qos=x", "--nodelist='n[1,3-5]'"),
        ("mail_user=me@x.org,mail_type=END,FAIL", "--mail-type=END,FAIL"),
        ("mail-user=me@x.org", "--mail-user=me@x.org"),
        ("reservation=class", "--reservation=class"),
        ("wckey=mine", "--wckey=mine"),
        ("exclusive=true", "--exclusive"),
        ('comment="one, two = three"', "--comment='one, two = three'"),
        ("time=1-2", "--time=1560"),
        ("time=2:30:00", "--time=150"),
        ("mem_per_cpu=3G", "--mem-per-cpu=3G"),
        ("gres=gpu:a100:2,shard:1", "--gres=gpu:a100:2,shard:1"),
        ("an_option_of_2030=7", "--an-option-of-2030=7"),
    ],
)
def test_any_option_of_sbatch_passes(asked, line):
    assert f"#SBATCH {line}" in script_of(asked)


def test_no_wckey_is_sent_that_nobody_asked_for():
    assert not [line for line in script_of("") if "wckey" in line]


@pytest.mark.parametrize(
    ("asked", "gpus", "tasks"),
    [
        ("", 0, 1),
        ("gpus_per_node=4,pack=2", 4, 8),
        ("gpus_per_node=a100:2", 2, 2),
        ("gres=gpu:a100:2", 2, 2),
        ("gres=gpu", 1, 1),
        ("gres=gpu:h100", 1, 1),
        ("gres=gpu:3,shard:2", 3, 3),
        ("gres=gpu:a100:2(S:0-1)", 2, 2),
        ("gpus=2", 2, 2),
        ("gpus_per_node=0", 0, 1),
        ("gres=fpga:2", 0, 1),
    ],
)
def test_each_gpu_gets_a_task_however_it_was_asked_for(asked, gpus, tasks):
    resources = parse(asked)
    assert (resources.gpus, resources.tasks) == (gpus, tasks)
    assert resources.cpus_per_task == (4 if gpus else 1)
    assert f"#SBATCH --ntasks-per-node={tasks}" in script_of(asked)


def test_jobs_with_gpus_get_memory_and_cores_unless_told_otherwise():
    def asked(text, known_cells=None):
        (group,) = packing.groups(cells(1), parse(text), "1", known_cells or estimate.Estimate())
        return group.resources.mem_gb, group.resources.cpus_per_task

    assert asked("") == (None, 1)
    assert asked("gpus_per_node=2") == (32, 4)
    assert asked("gpus_per_node=2,cpus_per_task=7,mem_gb=5") == (5, 7)
    assert asked("gpus_per_node=1,mem=20G") == (None, 4)
    assert asked("gpus_per_node=1", known(1.0, 3000.0)) == (8, 4)


def test_a_container_runs_the_step_and_what_follows_it():
    lines = script_of('python="apptainer exec --nv i.sif python",srun_args="--mpi=none"')
    steps = [line for line in lines if "srun" in line and "python" in line]
    assert len(steps) == 2
    assert "--mpi=none apptainer exec --nv i.sif python -u -m submitit" in steps[0]
    assert (
        "--mpi=none apptainer exec --nv i.sif python -m slurm.recovery /runs/sweeps/S" in steps[1]
    )


def test_several_setup_lines_run_first_and_a_failing_one_ends_the_job(tmp_path):
    asked = f"setup='export A=1,2',setup='echo $A >{tmp_path}/a',setup=nothing --here,setup=touch x"
    lines = script_of(asked, tmp_path)
    end = next(n for n, line in enumerate(lines) if line.startswith("cd "))
    script = "\n".join([*lines[:end], "echo trained"])
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (3, "")
    assert (tmp_path / "a").read_text() == "1,2\n"
    assert not (tmp_path / "x").exists()
    assert "setup failed: nothing --here on " in (tmp_path / "note-setup.txt").read_text()


def test_a_request_from_python_quotes_what_has_commas_and_repeats_lists():
    asked = Request.of(
        {"partition": "a,b", "setup": ["export A=1", 'echo "x, y"'], "exclusive": True,
         "gpus_per_node": 2, "max_parallel": 3}
    )  # fmt: skip
    resources = parse(asked.resources)
    assert resources.options == {"partition": "a,b", "exclusive": True, "gpus_per_node": "2"}
    assert resources.setup == ("export A=1", 'echo "x, y"')
    assert asked.max_parallel == 3


@pytest.mark.parametrize("factor", ["2x", "2", 2, 2.0])
def test_factors_of_a_retry(factor):
    assert Request(retry_mem=factor).retry == packing.Retry(2.0, 2.0)


@pytest.mark.parametrize("factor", ["x", "0.5x", "-1", "nan", "1000x", "2 x"])
def test_a_factor_that_is_none_is_one_sentence(factor):
    with pytest.raises(InputError, match=r"retry_time .* must be a number from 1 to 100"):
        Request(retry_time=factor)


def array_of(sizes):
    """Return arrays of jobs: a list per group, whose members stand for arrays of so many jobs."""
    return [
        packing.Group(resources, [[CELL]] * size)
        for resources, group in ((parse("mem_gb=1"), group) for group in sizes)
        for size in group
    ]


@pytest.mark.parametrize(
    ("sizes", "max_parallel", "wanted"),
    [
        ([[24]], 2, [(2, None)]),
        ([[10, 10, 4]], 2, [(2, None), (2, 0), (2, 1)]),  # cut because of the site's limit
        ([[30], [10]], 8, [(6, None), (2, None)]),
        ([[3], [100]], 64, [(2, None), (62, None)]),
        ([[5], [5], [5]], 2, [(1, None), (1, None), (1, 0)]),
        ([[1000, 500], [100]], 64, [(60, None), (60, 0), (4, None)]),
        ([[1]], 64, [(1, None)]),
    ],
)
def test_max_parallel_is_a_total_over_all_arrays(sizes, max_parallel, wanted):
    found = submit.lanes(array_of(sizes), max_parallel)
    assert found == wanted
    at_once = [parallel for parallel, before in found if before is None]
    assert sum(at_once) <= max_parallel


def test_without_slurm_nothing_is_written_but_the_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 2
    assert "there is no squeue on the PATH" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/sweeps/*"))


def test_a_dry_run_needs_no_slurm_and_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    command += ["--seeds", ",".join(map(str, range(500))), "--dry-run", "--cells-per-job", "5"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out
    assert "1000 cells in 200 jobs" in told
    assert "nothing is known of 1000" in told
    assert "#SBATCH --array=0-199%64" in told


def of_method(method, seconds_per_step, mib):
    cell = dataclasses.replace(CELL, method=method)
    return cell, estimate.kind(cell), (seconds_per_step, mib)


def test_jobs_are_grouped_by_what_their_cells_need():
    found = estimate.Estimate()
    full, linear, other = (
        of_method("full", 60.0, 9000.0),
        of_method("linear", 0.1, 900.0),
        of_method("ssf", 0.1, 800.0),
    )  # fmt: skip
    for _, kind, pair in (full, linear, other):
        found.known[kind].append(pair)
    unknown = dataclasses.replace(CELL, method="lora")
    asked = [full[0], linear[0], other[0], unknown]
    groups = packing.groups(asked, parse(""), "auto", found)
    told = {
        tuple(c.method for batch in g.batches for c in batch): (
            g.resources.mem_gb, g.resources.timeout_min,
        )
        for g in groups
    }  # fmt: skip
    # full: 1.5 x 8.8 GiB -> 16, 2 x 100 min + 10 -> 240
    # others: 1.5 x 0.9 GiB -> 2, 2 x 20 s + 10 min -> 30
    assert told == {("full",): (16, 240), ("linear", "ssf"): (2, 30), ("lora",): (None, 60)}
    given = packing.groups(asked, parse("mem_gb=5,timeout_min=7"), "auto", found)
    assert [(g.resources.mem_gb, g.resources.timeout_min) for g in given] == [(5, 7)]


def test_gpu_hours_are_those_of_the_gpus_in_use(tmp_path, monkeypatch):
    from slurm import executor

    monkeypatch.setenv("PATH", str(tmp_path))
    told = {"cell": dataclasses.asdict(CELL), "cost": {"train_s": 3600 / 1.1, "peak_mib": 1.0}}
    (tmp_path / "record.json").write_text(json.dumps(told))
    asked = parse("gpus_per_node=4,pack=2")
    groups = packing.groups(cells(8), asked, "8", estimate.read(tmp_path))
    text = executor.describe(submit.Order(groups, {}, tmp_path, 1))
    assert "predicted: 4.00 GPU-hours for 8 cells" in text  # 8 h, two cells at once on a GPU


def test_tasks_share_a_gpu_by_the_records_where_the_user_asks_for_it(tmp_path, monkeypatch):
    from slurm import executor

    monkeypatch.setenv("PATH", str(tmp_path))
    hardware = {"gpu": "G", "memory_mib": 24_576, "compute_mode": "Default"}
    cost = {"train_s": 3600 / 1.1, "peak_mib": 3000.0}
    told = {"cell": dataclasses.asdict(CELL), "cost": cost, "provenance": {"hardware": hardware}}
    (tmp_path / "record.json").write_text(json.dumps(told))
    found = estimate.read(tmp_path)
    for asked, pack in (
        ("gpus_per_node=1,pack=auto", 2),
        ("gpus_per_node=1", 1),
        ("gpus_per_node=1,pack=1", 1),
        ("mem_gb=4,pack=auto", 1),
    ):
        (group,) = packing.groups(cells(8), parse(asked), "8", found)
        assert (group.resources.pack, group.resources.tasks) == (pack, pack)
        text = executor.describe(submit.Order([group], {}, tmp_path, 1))
        assert ("2 processes share a GPU: a cell takes 2.9 of its 24 GiB" in text) is (pack == 2)
        assert [group.resources.sharing(size) for size in (8, 1)] == [pack, 1]
        # twice the 8 hours that they take one after the other: no gain of sharing is counted on
        assert group.resources.timeout_min == 30 * 64


def test_memory_of_a_gpu_says_nothing_of_the_hosts(tmp_path):
    cost = {"train_s": 1.0, "peak_mib": 99.0}
    told = {
        "cell": dataclasses.asdict(CELL),
        "cost": cost,
        "provenance": {"hardware": {"gpu": "G"}},
    }
    (tmp_path / "record.json").write_text(json.dumps(told))
    found = estimate.read(tmp_path)
    assert found.seconds(CELL) is not None
    assert found.mib([CELL]) is None


def test_gpus_are_given_to_the_tasks_in_turn():
    # three workers on two GPUs: the first and the last share one
    assert [workers.processes_on(number, 3, 2) for number in range(3)] == [2, 1, 2]
    assert workers.processes_on(1, 3, 0) == 1
    assert [workers.device_of(rank, 2) for rank in range(4)] == ["cuda:0", "cuda:1"] * 2
    assert workers.device_of(3, 0) == "cpu"


def test_submissions_to_one_folder_wait_for_each_other(tmp_path):
    order = []

    def second():
        with submit.alone(tmp_path):
            order.append("second")

    with submit.alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, tmp_path, "squeue", "")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sweeps").write_text("in the way")
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 2
    assert re.match(r"error: cannot write in .*; choose another --runs\n$", capsys.readouterr().err)


def test_a_plan_of_1000_cells_asks_slurm_a_handful_of_times(tmp_path, monkeypatch, capsys):
    calls = [
        fake(monkeypatch, tmp_path, name, "MaxArraySize = 1001") for name in ("sbatch", "scontrol")
    ]
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    command += ["--seeds", ",".join(map(str, range(500))), "--dry-run"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    assert "1000 cells in 334 jobs" in capsys.readouterr().out
    assert [len(path.read_text().splitlines()) for path in calls] == [1, 1]


def test_1000_cells_are_submitted_with_a_handful_of_calls(tmp_path, monkeypatch, capsys):
    answers = {"squeue": "", "srun": "", "scontrol": "MaxArraySize = 1001"}
    answers["sbatch"] = "Submitted batch job 77"
    calls = {name: fake(monkeypatch, tmp_path, name, text) for name, text in answers.items()}
    command = ["run", "--executor", "slurm", "--backbones", "tiny_vit", "--methods", "linear"]
    command += ["--seeds", ",".join(map(str, range(500))), "--cells-per-job", "1"]
    runs = with_images(tmp_path / "runs")
    assert main([*command, "--runs", str(runs)]) == 0
    assert "1000 cells in 1000 jobs" in capsys.readouterr().out
    told = {name: path.read_text().splitlines() for name, path in calls.items() if path.exists()}
    assert {name: len(lines) for name, lines in told.items()} == {
        "squeue": 1, "scontrol": 1, "sbatch": 3,
    }  # fmt: skip
    assert [line.split()[0] for line in told["sbatch"][:2]] == ["--version", "--test-only"]
    assert len(list(runs.glob("sweeps/*/logs/77_*_submitted.pkl"))) == 1000


def test_damaged_weights_are_found_before_anything_is_submitted(tmp_path, monkeypatch):
    from benchmark import backbones
    from benchmark.backbones import weights

    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path))
    path = tmp_path / "resnet10t.c3_in1k.safetensors"
    weights._store(path, {"a": torch.zeros(100)})
    backbones.prefetch("timm:resnet10t.c3_in1k")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="were damaged since they were stored"):
        backbones.prefetch("timm:resnet10t.c3_in1k")
