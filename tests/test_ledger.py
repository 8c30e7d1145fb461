"""The efficiency ledger: published combined scores as golden values, costs by hand."""

import csv
import io
import json
import re

import pytest
import torch
from test_claims import write

from benchmark import backbones
from benchmark.bench import latency
from benchmark.bench.timing import Watch
from benchmark.core.registry import InputError
from results import frame, tables
from results.costs import ledger
from results.papers import papers
from results.reporting import Options, report
from results.tables.sheet import terminal

# PPE and PME of the published table, computed with the authors' own function
FPT = {
    "full": (65.73, 65.73),
    "prompt tuning": (83.62, 63.47),
    "adapter": (83.41, 64.61),
    "lora": (85.69, 64.93),
    "fpt": (85.73, 83.60),
    "fpt_plus": (86.73, 85.94),
}


def test_ppe_and_pme_are_the_published_ones():
    numbers = {n.method: n for n in papers.read("fpt").numbers}
    for method, expected in FPT.items():
        n = numbers[method]
        got = (
            ledger.ppe(n.value, n.params_percent / 100),
            ledger.ppe(n.value, n.memory_mb / numbers["full"].memory_mb),
        )
        assert got == pytest.approx(expected, abs=0.006), method


@pytest.mark.parametrize(
    ("score", "millions", "printed"),
    [
        (52.94, 0, 0.53),
        (69.43, 0.56, 0.68),
        (71.44, 0.16, 0.71),
        (72.32, 0.16, 0.72),
        (72.25, 0.29, 0.71),
        (73.10, 0.21, 0.72),
        (73.23, 0.07, 0.73),
        (64.85, 0.08, 0.65),
    ],
)
def test_ppt_is_the_published_one(score, millions, printed):
    assert ledger.ppt(score, millions * 1e6) / 100 == pytest.approx(printed, abs=0.005)


def costs(trained, seconds, peak=1000.0, **more):
    return {
        "trainable_params": trained,
        "backbone_params": 1_000_000,
        "total_params": 1_000_000 + trained,
        "delta_bytes": 4 * trained + 2**20,
        "train_s": seconds,
        "peak_mib": peak,
        **more,
    }


def built(runs):
    loaded = frame.load([runs])
    (table,) = tables.build(loaded)
    found = ledger.build(loaded, table)
    return found, {entry.method.partition("(")[0]: entry for entry in found.entries}


def test_costs_by_hand(tmp_path):
    write(tmp_path, [40, 50], cost=costs(1000, 30), method="lora(rank=8)")
    write(tmp_path, [60, 60], cost=costs(1_000_000, 90), method="full")
    _, entries = built(tmp_path)
    lora = entries["lora"]
    assert (lora.trained, lora.share, lora.active) == (1000, 0.1, 1_001_000)
    assert lora.stored == pytest.approx(1 + 4000 / 2**20)
    assert (lora.seconds, lora.searched, lora.score) == (30, 30, pytest.approx(45))
    assert (lora.peak, lora.pme) == (None, None)  # trained on a CPU
    assert entries["full"].ppe == pytest.approx(60 * 0.74, abs=0.01)  # exp(-log10 2) = .740
    assert (lora.best, entries["full"].best) == (True, True)


def test_the_search_counts_all_trials_per_reported_cell(tmp_path):
    # two trials x two seeds of 30 s and 50 s; two cells are reported: 160 s / 2
    for lr, seconds in ((0.1, 30), (0.2, 50)):
        write(tmp_path, [40, 40], cost=costs(1000, seconds), method="lora", lr=lr)
    _, entries = built(tmp_path)
    assert (entries["lora"].seconds, entries["lora"].searched) == (30, 80)


def test_times_of_cells_that_shared_a_gpu_are_left_out(tmp_path):
    gpu = {"hardware": {"gpu": "H100"}}
    shared = {**gpu, "processes_per_gpu": 2}
    lora = {"method": "lora", "provenance": gpu}
    write(tmp_path, [40], cost=costs(1000, 30, images_per_s=9.0), **lora)
    _, entries = built(tmp_path)
    assert entries["lora"].searched == 30
    slow = costs(1000, 90, images_per_s=3.0)
    write(tmp_path, [40], cost=slow, method="lora", fraction=0.4, provenance=shared)
    write(tmp_path, [50], cost=slow, method="ssf", provenance=shared)
    found, entries = built(tmp_path)
    lora, ssf = entries["lora"], entries["ssf"]
    assert (lora.seconds, lora.images_per_s, lora.searched) == (30, 9, None)
    assert (ssf.seconds, ssf.images_per_s, ssf.searched) == (None, None, None)
    assert (lora.peak, ssf.peak) == (1000, 1000)  # of each process alone
    assert "leave out 2 cells that shared a GPU" in ledger.note(found)
    assert "nan" not in terminal(ledger.sheet(found))


def test_a_dominated_method_and_one_with_an_empty_column_are_not_on_the_front(tmp_path):
    for fraction in (0.4, 1.0):
        write(tmp_path, [50], cost=costs(1000, 1), method="lora", fraction=fraction)
        write(tmp_path, [45], cost=costs(2000, 1), method="ssf", fraction=fraction)
    write(tmp_path, [99], cost=costs(10, 1), method="norm", fraction=1.0)
    _, entries = built(tmp_path)
    assert [entries[m].best for m in ("lora", "ssf", "norm")] == [True, False, False]
    assert (entries["norm"].score, entries["norm"].ppt) == (None, None)


def test_memory_counts_where_a_device_measured_it(tmp_path, monkeypatch):
    gpu = {"hardware": {"gpu": "H100"}}
    for method, score, peak in (("full", 88.82, 23128.0), ("lora", 85.94, 20970.0)):
        cost = costs(680 if method == "lora" else 1_000_000, 1, peak=peak)
        write(tmp_path, [score], cost=cost, provenance=gpu, method=method)
    found, entries = built(tmp_path)
    assert found.devices == ("H100",)
    assert entries["lora"].pme == pytest.approx(64.93, abs=0.01)
    assert "CPU" not in ledger.note(found)


def test_the_ledger_is_shown_and_written(tmp_path):
    for method, score in (("full", 60), ("lora(rank=8)", 50), ("linear", 40)):
        write(
            tmp_path, [score], cost=costs(score, 8000), method=method, backbone="vit_s14_imgfocus"
        )
    made = report([tmp_path], tmp_path / "report", options=Options(efficiency=True))
    block = made.text[made.text.index("Efficiency on vit_s14_imgfocus, 56 px, cpu") :]
    assert max(map(len, block.splitlines())) <= 100
    assert "%: of vit_s14_imgfocus" in block.replace("\n", " ")
    assert "PPT orders methods as the score does: Spearman 1.00." in " ".join(block.split())
    assert "2.22h" in block
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "efficiency.csv").read_text())))
    assert [float(row["score"]) for row in rows] == pytest.approx([60, 40, 50])
    assert [float(row["trained"]) for row in rows] == [60, 40, 50]  # numbers, not "60k"
    assert [float(row["train_s"]) for row in rows] == [8000] * 3
    units = {"share_percent", "stored_mib", "train_gflop_per_image", "train_and_search_s"}
    assert units | {"peak_mib", "latency_x_bare", "merged_latency_x_bare"} <= rows[0].keys()
    front = made.tables["efficiency"].set_index("method")["best"]
    assert front["lora(rank=8)"]
    assert re.search(r"\| lora .* front \|", (tmp_path / "report" / "efficiency.md").read_text())


def test_latency_in_multiples_of_the_bare_backbone(tmp_path):
    for method in ("lora(rank=8)", "dvpt"):
        write(
            tmp_path, [50], cost=costs(1000, 1), method=method, backbone="tiny_vit", image_size=56
        )
    where = {"backbone": "tiny_vit", "image_size": 56}  # what `make_cell` has
    times = {"ms": 30.0, "bare_ms": 20.0}
    rows = [
        {**where, **times, "method": "lora(rank=8)", "merged_ms": 21.0},
        {**where, **times, "method": "dvpt", "merged_ms": None},
        {**where, "image_size": 224, "method": "dvpt", "ms": 99.0, "bare_ms": 1.0},
    ]
    (tmp_path / "latency.json").write_text(json.dumps({"rows": rows}))
    loaded = frame.load([tmp_path])
    found = ledger.build(loaded, *tables.build(loaded), [tmp_path])
    entries = {e.method.partition("(")[0]: e for e in found.entries}
    assert (entries["lora"].latency, entries["lora"].merged) == (1.5, 1.05)
    assert (entries["dvpt"].latency, entries["dvpt"].merged) == (1.5, None)
    text = terminal(ledger.sheet(found))
    assert re.search(r"1\.50x +1\.05x", text)
    assert " infer " not in terminal(ledger.sheet(ledger.build(loaded, *tables.build(loaded))))


def test_inference_is_timed_as_trained_and_merged(tmp_path):
    for method in ("lora(rank=8)", "dvpt(merge=rows,prompts=4,bottleneck=4)"):
        write(tmp_path, [50], method=method, backbone="tiny_vit", image_size=32)
    path = latency.write(
        [tmp_path], tmp_path / "out", Watch(torch.device("cpu"), rounds=1, repeats=1), batch=2
    )
    dvpt, lora = json.loads(path.read_text())["rows"]
    bare = sum(p.numel() for p in backbones.create("tiny_vit", 32).parameters())
    assert min(lora["ms"], lora["merged_ms"], lora["bare_ms"], dvpt["ms"]) > 0
    assert (lora["merged_active"], lora["active"] > bare) == (bare, True)
    assert (dvpt["merged_ms"], dvpt["merged_active"], dvpt["active"] > bare) == (None, None, True)
    assert dvpt["gflop"] > lora["gflop"] > 0  # four more tokens, and no branch on each layer
    with pytest.raises(InputError, match="there is no finished cell below"):
        latency.write([tmp_path / "none"], tmp_path, Watch(torch.device("cpu")), batch=2)
