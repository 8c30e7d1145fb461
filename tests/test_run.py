"""One cell and whole commands, from flags to records, tables and figures."""

import gc
import json
import re
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmark import backbones
from benchmark.__main__ import main
from benchmark.core.record import read_record
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.execution import one
from benchmark.sweep.grid import Grid
from benchmark.sweep.matching import matches
from benchmark.sweep.resolve import Resolver
from benchmark.training import compiled as compilation
from benchmark.training import run
from benchmark.training.compiled import Compiler, filled
from benchmark.training.fit import evaluate
from benchmark.training.head import Classifier
from benchmark.training.session import Session
from benchmark.training.source import images_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two small sets of images: bright or dark squares to classify and to segment."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for kind in ("class", "mask"):
        (folder / kind).mkdir()
        rows = [f"image,{'label' if kind == 'class' else 'mask'},group"]
        for i in range(60):
            image = rng.integers(60, 120, (32, 32)).astype(np.uint8)
            mask = np.zeros((32, 32), np.uint8)
            x, y = rng.integers(0, 20, 2)
            if kind == "mask" or i % 2:
                image[y : y + 12, x : x + 12] += 100
                mask[y : y + 12, x : x + 12] = 1
            Image.fromarray(image).save(folder / kind / f"{i}.png")
            Image.fromarray(mask).save(folder / kind / f"{i}_mask.png")
            target = f"{i}_mask.png" if kind == "mask" else ("dark", "bright")[i % 2]
            rows.append(f"{i}.png,{target},p{i // 2 if kind == 'mask' else i}")
        (folder / kind / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def flags(made, runs, **changes):
    values = {
        "methods": "linear,lora(rank=4)",
        "backbones": "tiny_vit",
        "datasets": f"{made}/class/manifest.csv",
        "fractions": "0.5,1.0",
        "steps": "6",
        "batch-size": "8",
        "evaluations": "2",
        "runs": str(runs),
        **changes,
    }
    return ["run", *(part for name, value in values.items() for part in (f"--{name}", value))]


def test_a_sweep_writes_records_tables_and_figures_and_is_done_once(made, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert main(flags(made, runs)) == 0
    records = sorted(runs.rglob("record.json"))
    assert len(records) == 4
    stamps = [path.stat().st_mtime_ns for path in records]
    report = {path.name for path in (runs / "report").iterdir()}
    assert {"table.txt", "table.md", "table.csv", "table.tex"} <= report
    assert sum(name.endswith(".png") for name in report) == 3
    capsys.readouterr()
    assert main(flags(made, runs)) == 0
    printed = capsys.readouterr().out
    assert "4 cells: 0 to do, 4 done" in printed
    assert re.search(r"\(24\).*\(48\)", printed)  # the numbers of labels behind 50 % and 100 %
    assert [path.stat().st_mtime_ns for path in records] == stamps
    assert main(["status", "--runs", str(runs)]) == 0
    assert "4 done, 0 to do, 0 failed" in capsys.readouterr().out


def test_what_a_record_holds(made, tmp_path):
    assert main(flags(made, tmp_path, methods="lora(rank=4)", fractions="1.0")) == 0
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert record.cost.trainable_params == 2 * 4 * 4 * 32
    assert record.cost.head_params == 2 * 32 + 2
    assert record.cost.delta_bytes == (path.parent / "delta.safetensors").stat().st_size
    values = sum(t.numel() for t in load_file(path.parent / "delta.safetensors").values())
    assert values == record.cost.trainable_params + record.cost.head_params
    assert record.cost.full_bytes > 4 * record.cost.backbone_params
    assert [point["step"] for point in record.history] == [3, 6]
    assert record.selected_step in (3, 6)
    assert record.data.labels_used == record.data.train + record.data.val == 48
    assert record.provenance["packages"]["timm"] == timm.__version__
    assert str(made) not in path.read_text()  # nothing of a record depends on where things lie
    with np.load(path.parent / "predictions.npz") as predictions:
        assert predictions["test_probs"].shape == (12, 2)
        accuracy = (predictions["test_probs"].argmax(1) == predictions["test_labels"]).mean()
    assert accuracy == pytest.approx(record.test["accuracy"])
    assert not (path.parent / "checkpoint.pt").exists()


def one_cell(made, kind="class", **changes):
    axes = {
        "methods": ("lora(rank=4)",),
        "backbones": ("tiny_vit",),
        "datasets": (f"{made}/{kind}",),
        "fractions": (1.0,),
        "steps": (6,),
        "evaluations": (3,),
        **changes,
    }
    resolver = Resolver()
    (cell,) = resolver.cells([Grid(**axes)])
    return cell, resolver.sources


@pytest.mark.parametrize(
    "backbone", ["tiny_vit", "tiny_swin", "tiny_convnext", "tiny_pvt", "tiny_resnet"]
)
def test_segmentation_trains_on_every_family_and_its_delta_reloads(made, tmp_path, backbone):
    method = "adaptformer(bottleneck=4)" if backbone != "tiny_resnet" else "bitfit"
    cell, sources = one_cell(made, "mask", backbones=(backbone,), methods=(method,))
    session = Session(tmp_path / "cache", sources)
    record = run.run(cell, session, tmp_path)
    assert 0 <= record.test["dice"] <= 1
    assert record.data.groups_test < record.data.test  # scored per group of two images
    data = session.data(cell)
    model, task = run.assemble(cell, session.backbone(cell), data.dataset.card)
    run.load_state(model, load_file(cell.folder(tmp_path) / "delta.safetensors"))
    setup = run.setup_of(cell, session, model, task, tmp_path / "c.pt")
    test = images_of(data.test, cell, session.device)
    scores = task.scores(evaluate(setup, test), data.test.groups)
    assert scores.items() <= record.test.items()


def test_segmentation_learns(made, tmp_path):
    cell, sources = one_cell(made, "mask", methods=("full",), steps=(60,), lr=(3e-3,))
    record = run.run(cell, Session(tmp_path / "cache", sources), tmp_path)
    assert record.test["dice"] > 0.7


class StopError(Exception):
    pass


def test_killed_and_resumed_is_the_same_record(made, tmp_path):
    cell, sources = one_cell(made, methods=("dvpt(prompts=4,bottleneck=4)",))
    session = Session(tmp_path / "cache", sources)
    whole = run.run(cell, session, tmp_path / "whole")

    def stop(step):
        if step == 3:
            raise StopError("pulled the plug")

    with pytest.raises(StopError):
        run.run(cell, session, tmp_path / "broken", stop)
    folder = cell.folder(tmp_path / "broken")
    assert (folder / "error.txt").read_text().startswith("pulled the plug\n")
    assert not (folder / "record.json").exists()
    steps = []
    again = run.run(cell, Session(tmp_path / "cache", sources), tmp_path / "broken", steps.append)
    assert steps[0] == 3  # the last checkpoint was after step 2
    assert (again.history, again.val, again.test) == (whole.history, whole.val, whole.test)
    assert not (folder / "error.txt").exists()
    deltas = [
        load_file(cell.folder(tmp_path / d) / "delta.safetensors") for d in ("whole", "broken")
    ]
    assert all(torch.equal(deltas[0][name], deltas[1][name]) for name in deltas[0])


def test_methods_share_split_subset_batches_and_head(made, tmp_path):
    cells, sources = [], {}
    for method in ("linear", "lora(rank=4)", "vpt_deep(prompts=2)"):
        cell, sources = one_cell(made, methods=(method,))
        cells.append(cell)
    session = Session(tmp_path, sources)
    rows = [session.data(cell).train.rows.tolist() for cell in cells]
    heads = [
        run.assemble(cell, session.backbone(cell), session.data(cell).dataset.card)[0].head.weight
        for cell in cells
    ]
    assert rows[0] == rows[1] == rows[2]
    assert torch.equal(heads[0], heads[1])
    assert torch.equal(heads[0], heads[2])


def test_one_failing_cell_does_not_stop_the_others(made, tmp_path, capsys, monkeypatch):
    original = run.fit

    def fit(setup, train, val, cell, on_step):
        if cell.method.startswith("lora"):
            raise RuntimeError("out of\nmemory")
        return original(setup, train, val, cell, on_step)

    monkeypatch.setattr(run, "fit", fit)
    assert main(flags(made, tmp_path, methods="lora(rank=4),linear", fractions="1.0")) == 1
    captured = capsys.readouterr()
    assert "out of memory" in captured.err
    assert "failed" in captured.out
    assert len(list(tmp_path.rglob("record.json"))) == 1
    assert main(["status", "--runs", str(tmp_path)]) == 1
    assert "1 done, 0 to do, 1 failed" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(flags(made, tmp_path, methods="lora(rank=4),linear", fractions="1.0")) == 0
    assert len(list(tmp_path.rglob("record.json"))) == 2


def test_a_cell_of_which_not_one_image_fits_says_what_to_do(made, tmp_path, monkeypatch, capsys):
    cell, sources = one_cell(made)

    def fit(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")

    monkeypatch.setattr(run, "fit", fit)
    outcome = one.train(cell, Session(tmp_path / "cache", sources), tmp_path)
    assert outcome.state == "failed"
    assert outcome.reason.startswith(f"memory does not hold one image of {cell.image_size} px")
    assert outcome.reason.endswith("take a smaller --image-size or --backbones")
    told = (cell.folder(tmp_path) / "error.txt").read_text()
    assert told.startswith(outcome.reason)
    assert "CUDA out of memory" in told
    assert "goes on with 1 images at once" in capsys.readouterr().err


def test_compiling_changes_nothing_but_the_provenance(made, tmp_path, monkeypatch):
    cell, sources = one_cell(made, methods=("partial",), augment=("none",))
    plain = run.run(cell, Session(tmp_path / "cache", sources), tmp_path / "plain")
    taken, limits, compile_ = [], [], torch.nn.Module.compile

    def note(model):
        taken.append(model)
        limits.append(torch._dynamo.config.cache_size_limit)

    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda model, **kwargs: note(model) or compile_(model, backend="aot_eager"),
    )
    session = Session(tmp_path / "cache", sources, settings=Settings(compile=True))
    before = torch._dynamo.config.cache_size_limit
    compiled = run.run(cell, session, tmp_path / "compiled")
    assert torch._dynamo.config.cache_size_limit == before
    assert len(taken) == 1
    assert limits == [compilation.LIMIT] != [before]
    assert compiled.cell.key == plain.cell.key
    assert compiled.provenance["compiled"]
    assert "compiled" not in plain.provenance
    assert compiled.test == pytest.approx(plain.test, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(("spec", "count"), [("partial", 1), ("lst", 0), ("linear", 0)])
def test_of_kept_features_only_blocks_that_still_run_are_compiled(
    spec, count, made, tmp_path, monkeypatch
):
    cell, sources = one_cell(made, methods=(spec,), augment=("none",), precision=("bf16",))
    taken = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model, **kwargs: taken.append(model))
    session = Session(tmp_path / "cache", sources, settings=Settings(compile=True))
    record = run.run(cell, session, tmp_path / "runs")
    assert record.provenance["cached_features"]
    assert len(taken) == count
    for block in taken:
        assert type(block).__name__ == "Block"  # neither replayed nor passed by
        assert all(p.requires_grad for p in block.parameters())
    assert ("compiled" in record.provenance) == bool(count)


@pytest.mark.parametrize(("micro_batch", "graph"), [(0, True), (8, True), (4, False)])
def test_micro_batches_are_summed_without_a_cuda_graph(micro_batch, graph, made, monkeypatch):
    cell, _ = one_cell(made, batch_size=(8,))
    backbone = backbones.create("tiny_vit", 32)
    model, taken = Classifier(backbone, backbone.num_features, 3), []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda part, **kwargs: taken.append((part, kwargs.get("mode")))
    )
    found = Compiler().take(model, cell, Settings(cuda_graph=True), micro_batch)
    if graph:
        assert taken == [(model, "reduce-overhead")]
    else:
        assert taken == [(block, None) for block in backbone.blocks]
    assert found == {"compiled": True} | ({"cuda_graph": True} if graph else {})


def test_a_compiled_model_is_given_up_before_the_next_cell():
    gc.disable()
    try:
        block = torch.nn.Linear(2, 2)
        block.compile(backend="eager")
        weight = weakref.ref(block.weight)
        del block
        assert weight() is not None  # it refers to itself
        compilation.limit(Settings(compile=True))
        assert weight() is None
    finally:
        gc.enable()


def test_blocks_are_compiled_once_for_all_cells_of_a_kind(made, tmp_path, monkeypatch):
    graphs, compile_ = [], torch.nn.Module.compile

    def note(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda model, **kwargs: compile_(model, backend=note, **kwargs)
    )
    methods = [f"lora(rank={rank})" for rank in (2, 3)]
    (first, sources), (other, _) = (one_cell(made, methods=(method,)) for method in methods)
    plain = Session(tmp_path / "cache", sources)
    session = Session(tmp_path / "cache", sources, settings=Settings(compile=True))
    counts = []
    for cell in (first, replace(first, seed=1), other):
        compiled = run.run(cell, session, tmp_path / "compiled")
        eager = run.run(cell, plain, tmp_path / "plain")
        assert compiled.test == pytest.approx(eager.test, rel=1e-3, abs=1e-4, nan_ok=True)
        counts.append(len(graphs))
    # the first block, whose input has no gradient; the others; all of them in evaluation
    assert counts[0] == 3
    assert counts[1] == 3
    assert counts[2] == 6


def test_a_cuda_graph_asks_for_a_gpu(made, tmp_path, capsys):
    with pytest.raises(InputError, match="--cuda-graph needs a GPU"):
        Session(tmp_path, {}, torch.device("cpu"), settings=Settings(cuda_graph=True))
    assert main([*flags(made, tmp_path), "--cuda-graph"]) == 2
    error = capsys.readouterr().err
    assert error == "error: --cuda-graph needs a GPU, and there is none here; leave it out\n"


def test_a_batch_is_filled_with_its_last_image():
    images = torch.arange(6.0).view(3, 2)
    assert filled(images, 5).tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
    assert torch.equal(filled(images, 3), images)


def test_what_a_method_cannot_do_is_told(made, tmp_path, capsys):
    found = flags(
        made, tmp_path, methods="vpt_deep,bitfit", backbones="tiny_resnet", fractions="1.0"
    )
    assert main(found) == 0
    assert "n/a" in capsys.readouterr().out
    (path,) = tmp_path.rglob("unsupported.txt")
    assert "no token can be added" in path.read_text()
    assert main(["status", "--runs", str(tmp_path)]) == 0
    assert "no token can be added" in capsys.readouterr().out


def test_warnings_of_a_command_are_notes():
    """In a process of its own: pytest takes warnings away before they are printed."""
    code = """
import warnings
from benchmark.__main__ import main
main(["list", "suites"])
warnings.warn("vpt_deep inserts 50 tokens " + "beside 16 of the image " * 4)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = found.stderr.splitlines()
    assert first.startswith("note: vpt_deep inserts 50 tokens beside 16 of the image")
    assert len(first) <= 100
    assert second.startswith("  ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "lorra"}, "unknown method 'lorra'; did you mean 'lora'"),
        ({"methods": "lora(rnk=2)"}, "did you mean 'rank'"),
        ({"backbones": "tiny_vitt"}, "did you mean 'tiny_vit'"),
        ({"datasets": "phantom"}, "unknown data set 'phantom'"),
        ({"fractions": "0"}, "fractions 0.0 must be a number above 0 and up to 1"),
        ({"fractions": "a"}, "fractions 'a' must be a number"),
        ({"image-size": "30"}, "must be a multiple of 8, for example 24 or 32"),
        ({"lr": "-1"}, "lr -1.0 must be a number from 1e-30"),
        ({"lr": "inf"}, "lr 'inf' must be a number from 1e-30"),
        ({"weight-decay": "nan"}, "weight_decay 'nan' must be a number from 0 to 1e+30"),
        ({"lr": "1e-46"}, "lr 1e-46 must be a number from 1e-30"),
        ({"clip": "1e50"}, "clip 1e+50 must be a number from 1e-30 to 1e+30"),
        ({"batch-size": "9" * 18}, "must be a whole number from 1 to 65536"),
        ({"image-size": "1000000"}, "image_size 1000000 must be a whole number from 1 to 8192"),
        ({"seeds": "1,"}, "seeds '1,' is not a comma list"),
        ({"augment": "strong"}, "unknown augmentation 'strong'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"suite": "smok"}, "did you mean 'smoke'"),
        ({"config": "absent.toml"}, "cannot read 'absent.toml'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(made, tmp_path, capsys, changes, message):
    assert main(flags(made, tmp_path / "runs", **changes)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("epochs", "message"),
    [("1e-9", "epochs 1e-09 of 38 training images is not one"), ("1e50", "epochs 1e+50: steps")],
)
def test_a_length_in_epochs_that_no_cell_can_have(made, tmp_path, capsys, epochs, message):
    command = ["run", "--datasets", f"{made}/class", "--backbones", "tiny_vit", "--epochs", epochs]
    assert main([*command, "--fractions", "1.0", "--runs", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err


def test_a_cell_holds_the_evaluations_that_are_done(made):
    (cell,) = Resolver().cells(
        [Grid(("linear",), ("tiny_vit",), (f"{made}/class",), (1.0,), steps=(2,), evaluations=(9,))]
    )
    assert (cell.steps, cell.evaluations) == (2, 2)
    assert matches(
        Grid(("linear",), ("tiny_vit",), ("class",), (1.0,), steps=(2,), evaluations=(9,))
    )(cell.values())


def test_a_runs_folder_that_cannot_be_written(made, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(flags(made, tmp_path / "file" / "runs")) == 2
    assert "cannot write in" in capsys.readouterr().err


def test_config_files_and_flags(made, tmp_path, capsys):
    text = (
        'methods = ["linear", "bitfit"]\nbackbones = ["tiny_vit"]\nfractions = [0.5]\nsteps = 4\n'
    )
    text += f'datasets = ["{made}/class"]\n'
    (tmp_path / "sweep.toml").write_text(text)
    command = [
        "run",
        "--config",
        str(tmp_path / "sweep.toml"),
        "--runs",
        str(tmp_path),
        "--dry-run",
    ]
    assert main(command) == 0
    assert "2 cells: 2 to do" in capsys.readouterr().out
    assert main([*command, "--methods", "lora", "--seeds", "0,1,2"]) == 0
    assert "3 cells" in capsys.readouterr().out
    assert not list(tmp_path.rglob("cell.json"))  # a dry run leaves nothing
    (tmp_path / "sweep.toml").write_text("method = 'lora'\n")
    assert main(command) == 2
    assert "unknown configuration key 'method'; did you mean 'methods'" in capsys.readouterr().err


def test_data_or_weights_that_changed_since_the_plan_are_refused(made, tmp_path):
    cell, sources = one_cell(made)
    import dataclasses

    for field in ("data", "weights"):
        other = dataclasses.replace(cell, **{field: "0" * 16})
        with pytest.raises(ValueError, match=f"the {field} of .* changed since it was planned"):
            run.run(other, Session(tmp_path, sources), tmp_path)


def test_every_suite_names_things_that_exist():
    import methods
    from benchmark.data import datasets
    from benchmark.sweep.suites import suites

    for name in suites:
        for grid in suites[name]():
            assert all(methods.build(spec) for spec in grid.methods)
            assert all(backbones.resolve(b) for b in grid.backbones)
            if name != "paper":  # the paper's data sets are brought by the user
                assert all(d in datasets for d in grid.datasets)


def test_the_smoke_suite_runs_as_a_user_runs_it(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "run",
        "--suite",
        "smoke",
        "--runs",
        str(tmp_path),
    ]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    tasks = {json.loads(p.read_text())["data"]["task"] for p in tmp_path.rglob("record.json")}
    assert tasks == {"classification", "segmentation"}
    assert "synthetic" in answer.stdout


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets", "suites"])
def test_lists(kind, capsys):
    assert main(["list", kind]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
