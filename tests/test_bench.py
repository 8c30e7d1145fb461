"""The bench: what it counts is exact, its statistics are right, and the command tells it all."""

import json

import pytest
import torch
from torch import nn

from benchmark import backbones
from benchmark.__main__ import main
from benchmark.bench import inputs, memory, steps, subjects, timing, usage

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def vit():
    return backbones.create("tiny_vit", 32)


@pytest.fixture
def batch():
    return subjects.batch_of(4, 32, CPU, "fp32")


def test_saved_bytes_counts_what_a_linear_layer_keeps():
    layer, x = nn.Linear(8, 3), torch.randn(5, 8)
    hidden = torch.randn(5, 8, requires_grad=True) * 1.0  # not the batch, so its bytes count
    assert memory.saved_bytes(lambda: layer(hidden).sum(), memory.owned(layer, x)) == 5 * 8 * 4
    assert memory.saved_bytes(lambda: layer(x).sum(), memory.owned(layer, x)) == 0
    layer.requires_grad_(False)
    assert memory.saved_bytes(lambda: layer(hidden).sum(), memory.owned(layer)) == 0


def test_saved_bytes_counts_a_storage_once_and_whole():
    base = torch.randn(10, 4, requires_grad=True) * 1.0

    def forward():
        part = base[:2]
        return (part.exp() * 1.0).sum() + (part * part).sum() + base.sin().sum()

    # the whole of `base`, seen through two views and itself, and the result of exp
    assert memory.saved_bytes(forward, []) == 10 * 4 * 4 + 2 * 4 * 4


def test_the_interval_holds_the_median_as_often_as_it_says():
    assert timing.interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    # nine draws: the second smallest and second largest enclose it with 1 - 20 / 512 = 0.961
    assert timing.interval([float(v) for v in range(1, 10)]) == (2.0, 8.0)
    for count in range(6, 40):
        low, high = (int(v) for v in timing.interval([float(v) for v in range(count)]))
        inside = sum(_binomial(count, k) for k in range(low + 1, high + 1)) / 2**count
        assert inside >= timing.CONFIDENCE, count
        if high - low > 2:
            tighter = sum(_binomial(count, k) for k in range(low + 2, high)) / 2**count
            assert tighter < timing.CONFIDENCE, count


def _binomial(n, k):
    value = 1
    for i in range(k):
        value = value * (n - i) // (i + 1)
    return value


def test_ratios_are_taken_within_a_round():
    medians = {"a": [2.0, 20.0, 4.0], "floor": [1.0, 10.0, 2.0]}  # the second round was slow
    assert timing.ratios(medians, "a", "floor") == timing.Estimate(2.0, 2.0, 2.0)


def test_interleaving_alternates_and_leaves_the_first_run_out(monkeypatch):
    clock, seen = [0.0], []
    monkeypatch.setitem(timing.CLOCKS, "wall", lambda: clock[0])

    def action(name, costs):
        def run():
            seen.append(name)
            clock[0] += costs.pop(0)

        return run

    actions = {"a": action("a", [99, 1, 5, 3, 2, 2, 2]), "b": action("b", [99] + [1] * 6)}
    found = timing.interleaved(actions, timing.Watch(CPU, rounds=2, repeats=3))
    assert seen == ["a", "b"] * 7
    assert found == {"a": [3.0, 2.0], "b": [1.0, 1.0]}


def test_the_floor_trains_nothing_of_the_backbone_but_goes_down_to_the_first_block(vit, batch):
    floor = subjects.floor(vit, batch)
    reached = []
    block = floor.model.body.blocks[0]
    block.register_full_backward_hook(lambda *_: reached.append("block 0"))
    before = {name: p.clone() for name, p in floor.model.named_parameters()}
    floor.step()
    assert reached == ["block 0"]
    moved = {n for n, p in floor.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"head.weight", "head.bias"}


def test_bias_tuning_saves_what_the_floor_saves_and_a_probe_its_features_only(vit, batch):
    # a bias needs no activation for its gradient
    subjects_found = steps.collect(["bitfit", "linear"], vit, batch)
    found = {subject.name: steps._exact(subject, batch)[0] for subject in subjects_found}
    assert found["bitfit"] <= found["floor"]
    # the features are a view of all 17 tokens; log-probabilities, and the sum of class weights
    assert found["linear"] == 4 * (4 * 17 * 32 + 4 * 5 + 1)
    assert found["forward"] == 0


def test_a_peft_twin_starts_as_the_backbone_and_trains_as_much_as_ours(vit, batch):
    pytest.importorskip("peft")
    spec = "lora(rank=2,targets=qkv+fc1)"
    ours, theirs = subjects.of_method(spec, vit, batch), subjects.peft_twin(spec, vit, batch)
    counts = [
        sum(p.numel() for p in subject.model.parameters() if p.requires_grad)
        for subject in (ours, theirs)
    ]
    assert counts[0] == counts[1]
    with torch.no_grad():
        torch.testing.assert_close(theirs.model.body(batch.images), vit(batch.images))
    assert subjects.peft_twin("lora", vit, batch) is None  # q and v apart: PEFT cannot
    assert subjects.peft_twin("dora(targets=qkv)", vit, batch) is None


def test_both_input_pipelines_show_the_same_images(tmp_path):
    folder = inputs.write_jpegs(tmp_path / "jpegs", 6, 40)
    subset = inputs.open_subset(folder, 40)
    ours = torch.from_numpy(subset.images.copy()).permute(0, 3, 1, 2).float() / 255
    jpegs = inputs.Jpegs(sorted(folder.rglob("*.jpg")), 40, train=False)
    theirs = torch.stack([jpegs[i] for i in range(6)])
    torch.testing.assert_close((ours - 0.5) / 0.25, theirs)


def test_the_command_prints_and_writes_all_parts(tmp_path, capsys):
    flags = ["--backbone", "tiny_vit", "--methods", "linear,lora(targets=qkv)", "--batch-size", "2"]
    file = tmp_path / "bench.json"
    fast = ["--rounds", "1", "--repeats", "1", "--parts", "steps,overhead", "--json", str(file)]
    assert main(["bench", *flags, *fast]) == 0
    text = capsys.readouterr().out
    assert "step / floor" in text
    assert "further cell, warm process" in text
    values = json.loads(file.read_text())
    rows = {row["method"]: row for row in values["methods"]}
    assert rows["floor"]["step_over_floor"] == 1.0
    assert rows["floor"]["saved_bytes_over_floor"] == 1.0
    assert rows["lora(targets=qkv)"]["kind"] == "method"
    assert rows["lora(targets=qkv)"]["saved_bytes"] > rows["linear"]["saved_bytes"]
    assert values["overhead"]["cold_s"] > values["overhead"]["warm_s"] > 0
    assert values["machine"]["threads"] == torch.get_num_threads()


def test_preparing_and_opening_are_measured(tmp_path, capsys):
    file = tmp_path / "data.json"
    flags = ["--parts", "data", "--data-images", "3", "--data-rows", "6", "--rounds", "1"]
    assert main(["bench", *flags, "--json", str(file)]) == 0
    data = json.loads(file.read_text())["data"]
    rates = list(data["preparing"].values())
    assert rates[0]["over_whole"] == 1.0
    assert all(rate["images_per_s"] > 0 for rate in rates)
    ways = [(found["name"], found["rows"]) for found in data["opening"]]
    assert ways == [("first time", 6), ("files known", 6), ("sealed index", 6)]
    text = capsys.readouterr().out
    assert "as `run` does" in text
    assert "rows/s" in text


STAGES = ("plan", "skip", "status", "report", "index", "load", "1% new", "100 new")


def test_planning_is_measured_and_needs_a_split_once(tmp_path, capsys, monkeypatch):
    opened = []
    from benchmark.sweep import resolve

    real = resolve.split
    monkeypatch.setattr(resolve, "split", lambda *a, **k: opened.append(a[1:]) or real(*a, **k))
    file = tmp_path / "plans.json"
    assert main(["bench", "--plan-sizes", "6,3", "--json", str(file)]) == 0
    plans = json.loads(file.read_text())["plans"]
    assert [scale["cells"] for scale in plans] == [3, 6]
    assert set(plans[0]["seconds"]) == set(STAGES)
    assert opened == [(0.2, 0)] * 2  # one split for all cells of a measurement
    assert "ms per cell, 3 to 6" in capsys.readouterr().out


def test_a_method_that_the_backbone_cannot_take_is_named_below_the_table(tmp_path, capsys):
    flags = ["--backbone", "tiny_convnext", "--methods", "vpt_deep,linear", "--batch-size", "2"]
    assert main(["bench", *flags, "--rounds", "1", "--repeats", "1", "--parts", "steps"]) == 0
    assert "\nvpt_deep: n/a, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--rounds", "0"],
            "argument --rounds: 0 must be a whole number above 0 and up to 1000000",
        ),
        (["--parts", "steps,gpu"], "unknown part 'gpu'"),
        (["--methods", "lorra"], "did you mean 'lora'"),
        (["--plan-sizes", "10,x"], "--plan-sizes 'x' must be a whole number"),
        (["--plan-sizes", "0"], "--plan-sizes 0 must be"),
        (["--clock", "cpu", "--threads", "2"], "--clock cpu needs --threads 1"),
        (["--data-rows", "0"], "--data-rows: 0 must be a whole number above 0"),
        (["--precision", "fp8"], "unknown precision 'fp8'"),
        (["--image-size", "33"], "multiple of 8"),
    ],
)
def test_bad_input_is_one_sentence(flags, told, capsys):
    assert main(["bench", "--backbone", "tiny_vit", *flags]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def event(start, length, category="kernel", phase="X"):
    return {"ph": phase, "cat": category, "ts": start, "dur": length}


def test_a_card_is_busy_while_anything_runs_on_it():
    trace = [
        event(100, 50),
        event(120, 60),  # on another stream: 30 microseconds more
        event(130, 10),  # within
        event(300, 20, "gpu_memcpy"),
        event(310, 5, "gpu_memset"),
        event(0, 1000, "cpu_op"),
        event(0, 900, "gpu_user_annotation"),  # a label around kernels
        {"ph": "M", "name": "process_name"},
    ]
    found = usage.activity(trace)
    assert found.busy_s == pytest.approx(100e-6)
    assert found.kernels == 3
    assert usage.activity([]) == usage.Activity(0.0, 0)


def test_mfu_is_the_work_of_a_step_over_what_the_card_could_do():
    # 70 GFLOP an image, 256 images in 70 ms on an A100
    assert usage.utilisation(70e9 * 256, 0.07, 312e12) == pytest.approx(0.82051, rel=1e-4)


@pytest.mark.parametrize(
    ("card", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L40", 181.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_the_peak_of_a_card_is_that_of_its_whole_name(card, tera):
    assert usage.peak_flops(card) == (None if tera is None else tera * 1e12)


def test_memory_is_split_into_what_holds_it():
    model = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.BatchNorm1d(10))
    model[0].requires_grad_(False)
    exact = usage.held(model, saved=1000)
    # 100 weights, 2 x 10 and 2 x 10 buffers of floats, a counter of 8 bytes; 20 trained floats
    assert exact == usage.Held(weights=4 * 140 + 8, training=3 * 80, activations=1000)
    found = usage.on_card(exact, peak=5000, reserved=8000, others=700)
    assert found == usage.Held(568, 240, 5000 - 700 - 568 - 240, 3000)


def test_a_step_with_its_input_is_measured_and_what_only_a_gpu_tells_is_not(tmp_path, capsys):
    file = tmp_path / "usage.json"
    flags = ["--backbone", "tiny_vit", "--methods", "linear,full", "--batch-size", "4"]
    assert main(["bench", *flags, "--parts", "usage", "--json", str(file)]) == 0
    linear, full = json.loads(file.read_text())["usage"]
    assert linear["step_s"] > 0
    assert linear["images_per_s"] == pytest.approx(4 / linear["step_s"])
    assert [linear[n] for n in ("mfu", "busy_share", "kernels_per_step", "cache_bytes")] == [
        None
    ] * 4
    assert linear["training_bytes"] == 3 * 4 * (32 * 5 + 5)  # the head alone, five grades
    assert full["training_bytes"] == 3 * full["weights_bytes"]
    assert full["activations_bytes"] > linear["activations_bytes"]
    assert "no GPU" in capsys.readouterr().out
