"""What a GPU asks for, checked without one: types, memory that ends, a context that is lost."""

import contextlib
import dataclasses
import os
import threading
import warnings
import weakref
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_backbones
import torch
from PIL import Image
from sweep_helpers import with_images
from test_train import cell, make_setup, subset

from benchmark import Sweep
from benchmark.__main__ import main
from benchmark.auditing.cuda import cuda_layer_norm, on_a_gpu
from benchmark.backbones.shared import Pristine, own_trained
from benchmark.bench import card, latency
from benchmark.bench import memory as bench_memory
from benchmark.bench.timing import Watch
from benchmark.core.registry import DeviceLost, InputError
from benchmark.core.settings import Settings
from benchmark.execution import one, workers
from benchmark.execution import train as execution
from benchmark.sweep.estimate import Forecast
from benchmark.sweep.grid import Grid
from benchmark.sweep.resolve import Resolver
from benchmark.trained import external, load
from benchmark.training import memory, prefetch, provenance
from benchmark.training.arithmetic import arithmetic
from benchmark.training.checkpoint import Clock, Interrupted, Progress, resume
from benchmark.training.fit import evaluate, fit
from benchmark.training.head import Classifier
from benchmark.training.layout import cast_frozen
from benchmark.training.neighbours import Neighbours, memorize
from benchmark.training.optimizer import optimizer_of
from benchmark.training.run import run
from benchmark.training.session import OnCard, Session
from benchmark.training.source import Subset
from benchmark.training.tasks.segmentation import Segmentation
from methods import build, lst

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "spec", ["lora(targets=qkv+proj+fc1+fc2)", "adaptformer", "convpass", "repadapter"]
)
def test_what_is_made_again_is_made_as_in_the_forward_pass(spec):
    # swin keeps bfloat16 before its norms; CUDA refuses it beside their weights outside autocast
    body = build(spec).attach(tiny_backbones.make("swin"))
    x = torch.randn(2, 3, 64, 64)
    with cuda_layer_norm():
        with torch.autocast("cpu", torch.bfloat16):
            value = body(x).float().square().mean()
        value.backward()
    assert all(p.grad.isfinite().all() for p in body.parameters() if p.requires_grad)


def test_a_fault_on_a_gpu_that_is_not_there_prints_no_traceback_of_torch(caplog, capfd):
    with on_a_gpu(torch.nn.Linear(2, 3)) as device, pytest.raises(RuntimeError, match="dim"):
        torch.zeros(2, 3, device=device) @ torch.zeros(2, 3, device=device)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_cuda_refuses_what_the_cpu_accepts():
    norm, x = torch.nn.LayerNorm(4), torch.randn(2, 4, dtype=torch.bfloat16)
    norm(x)
    with cuda_layer_norm():
        with torch.autocast("cpu", torch.bfloat16):
            assert norm(x).dtype == torch.float32
        with pytest.raises(RuntimeError, match="expected scalar type"):
            norm(x)


def test_a_model_without_storage_can_be_run():
    body = build("lora").attach(tiny_backbones.make("vit")).to("meta")
    assert body(torch.empty(2, 3, 64, 64, device="meta")).device.type == "meta"


def hungry(forward, limit):
    """A forward pass for which memory ends above `limit` images."""

    def call(images):
        if len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        sizes.append(len(images))
        return forward(images)

    sizes = []
    return call, sizes


def test_evaluation_halves_its_batches_when_memory_ends(tmp_path, monkeypatch):
    setup, images = make_setup(tmp_path), subset(70)
    wanted = evaluate(setup, images)
    setup.model.forward, sizes = hungry(setup.model.forward, 20)
    found = evaluate(setup, images)
    assert sizes == [16, 16, 16, 16, 6]  # 64 and 32 did not fit; then what fits is kept
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5)
    setup.model.forward, _ = hungry(setup.model.forward, 0)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(setup, images)


def test_another_error_is_not_taken_for_memory():
    def fail(positions):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        list(memory.Chunks(8).map(20, fail))


MESSAGES = {
    "CUDA out of memory. Tried to allocate 2 GiB": "memory",
    "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)": "memory",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED": "memory",
    "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory": "memory",
    "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling cusolverDnCreate": "memory",
    "cuFFT error: CUFFT_ALLOC_FAILED": "memory",
    "CUDA error: invalid configuration argument": "memory",  # more than 65,535 windows at once
    # the same cell would meet these again: a run that ended here would never go beyond it
    "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx( handle, opa`": "",
    "CUDA error: no kernel image is available for execution on the device": "",
    "CUDA error: too many resources requested for launch": "",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`": "lost",
    "CUDA error: unspecified launch failure": "lost",
    "CUDA error: device-side assert triggered": "lost",
    "CUDA error: an illegal memory access was encountered": "lost",
    "CUDA error: out of memory": "memory",
    "mat1 and mat2 shapes cannot be multiplied": "",
}


@pytest.mark.parametrize("text", MESSAGES)
def test_memory_a_lost_device_and_other_errors_are_told_apart(text):
    error = RuntimeError(text)
    assert memory.is_out_of_memory(error) is (MESSAGES[text] == "memory")
    assert memory.is_device_lost(error) is (MESSAGES[text] == "lost")


def test_a_lost_device_ends_the_process_and_no_cell_after_it_fails(tmp_path, monkeypatch):
    def lose(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(one, "run", lose)
    session = Session(tmp_path, {}, CPU)
    with pytest.raises(DeviceLost, match="the same command goes on"):
        one.train(cell(), session, tmp_path)
    assert not issubclass(DeviceLost, InputError)  # who waits for a full disk must not wait for it


def test_a_head_computes_in_single_precision_under_autocast():
    model = Classifier(torch.nn.Linear(6, 8), 8, 3)
    x = torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.encode(x)[0]
        assert features.dtype == torch.bfloat16
        logits = model(x)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, model.head(features.float()))


def test_similarities_are_of_single_precision(tmp_path):
    model = Neighbours(torch.nn.Flatten(), 3 * 8 * 8, 2, 4)
    setup = dataclasses.replace(make_setup(tmp_path), model=model, precision="bf16")
    memorize(setup, subset(16), subset(8, 1), 1)
    queries = torch.randn(3, 3, 8, 8)
    wanted = model(queries)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(queries)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)  # nothing below the head multiplies


def test_the_peak_of_nearest_neighbours_does_not_depend_on_free_memory(tmp_path, monkeypatch):
    model = Neighbours(torch.nn.Flatten(), 3 * 8 * 8, 2, 4)
    setup = dataclasses.replace(make_setup(tmp_path), model=model, processes_per_gpu=3)
    asked, chunks = [], memory.chunks

    def noted(device, processes=1, *, fixed=False):
        asked.append((processes, fixed))
        return chunks(device)

    monkeypatch.setattr(memory, "chunks", noted)
    memorize(setup, subset(16), subset(8, 1), 1)
    assert asked[0][1]  # what is stored passes in batches of one size; then the peak is read
    assert asked[1:] == [(3, False)]  # validation may grow, into its part of the card


def test_a_session_takes_the_first_card_of_a_machine_that_has_one(monkeypatch):
    taken = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch._C._cuda_setDevice", taken.append, raising=False)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: [])
    session = Session(Path(), {})  # torch itself looks at the device that it is given
    assert taken == [0]
    assert session.device == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("visible", "gpus", "taken"),
    [
        ("MIG-a, MIG-b,MIG-c", 3, "MIG-b"),  # CUDA would show each process MIG-a alone
        ("MIG-a", 1, "MIG-a"),
        ("GPU-a,GPU-b", 1, "GPU-a,GPU-b"),  # of whole cards torch knows the number
        ("0,1", 1, "0,1"),
    ],
)
def test_each_process_takes_another_slice_of_a_card(visible, gpus, taken, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert workers.num_gpus() == gpus
    assert execution.num_jobs("local", None, 100) == gpus
    workers.take_slice(4)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken
    assert workers.num_gpus() == 1


@pytest.mark.parametrize(
    ("card", "kernels", "runs"),
    [
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),  # a V100, and a torch for CUDA 13
        ((7, 5), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 6), ["sm_75", "sm_80", "sm_90"], True),  # as a card of its generation
        ((8, 0), ["sm_75", "sm_86"], False),
        ((12, 0), ["sm_80", "sm_90a"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((12, 1), ["sm_90", "sm_120"], True),
        ((6, 1), [], True),  # nothing is known
    ],
)
def test_a_card_that_torch_has_no_kernels_for_is_refused(card, kernels, runs, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: kernels)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: card)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr("torch.version.hip", None)
    device = torch.device("cuda:0")
    told = f"no kernels for Tesla V100 .compute capability {card[0]}.{card[1]}., but for"
    refused = contextlib.nullcontext() if runs else pytest.raises(InputError, match=told)
    with refused:
        Session(Path(), {}, device)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(execution, "local", lambda *_: iter(()))
    with refused:  # not by workers, each of which would die
        execution.train([], Path(), {}, Settings(), Forecast([]), executor="local")


@pytest.mark.parametrize(("processes", "fits"), [(1, True), (2, False)])
def test_processes_on_one_card_share_out_the_room_for_images(processes, fits, monkeypatch):
    session = Session(Path(), {}, CPU, settings=Settings(processes_per_gpu=processes))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (100, 2000))
    # what torch keeps of earlier cells is free as well
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 1100)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: 200)
    values = np.zeros(200, np.uint8)  # a quarter of 1000 bytes is 250
    assert (session._room(values) is not None) is fits


def test_a_process_that_trains_nothing_itself_takes_no_card(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch._C._cuda_setDevice", taken.append, raising=False)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: [])
    monkeypatch.setattr(execution, "local", lambda *_: iter(()))
    execution.train([], tmp_path, {}, Settings(), Forecast([]), executor="local")
    execution.prefetch([], tmp_path, {})
    assert not taken
    execution.train([], tmp_path, {}, Settings(), Forecast([]))
    assert taken == [0]


def on_fake_card(session, monkeypatch):
    """Let a session on the CPU put images where one on a GPU would."""
    session.device = torch.device("cuda:0")
    room = OnCard.like
    monkeypatch.setattr(OnCard, "like", lambda values, device: room(values, CPU))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (10**9, 10**9))


def test_splits_of_a_data_set_share_its_images_on_a_card(tmp_path, monkeypatch):
    session, resolver = Session(tmp_path, {}, CPU), Resolver()
    axes = {"datasets": ("phantom_grading",), "backbones": ("tiny_vit",), "methods": ("linear",)}
    grid = Grid(**axes, fractions=(0.1, 1.0), seeds=(0,), image_size=(32,))
    small, whole = resolver.cells([grid])
    on_fake_card(session, monkeypatch)
    disk = session.decoded(small)
    there = session.data(small)
    assert not any(isinstance(p.images, torch.Tensor) for p in (disk.train, disk.test))
    sent = session._kept[next(k for k in session._kept if k[0] == "images")].there.sum()
    assert sent == len(disk.train) + len(disk.val) + len(disk.test)  # no row that it has no use for
    more = session.data(whole)
    assert more.train.images is there.train.images  # and not a second copy of the set
    for part, wanted in zip(
        (there.train, more.train, more.val, more.test),
        (disk.train, *(getattr(session.decoded(whole), n) for n in ("train", "val", "test"))),
        strict=True,
    ):
        assert (part.images[part.rows].numpy() == wanted.images[wanted.rows]).all()


def test_when_memory_ends_images_leave_the_card_before_batches_are_halved(
    tmp_path, monkeypatch, capsys
):
    attempts, one_cell = [], cell(batch_size=4)
    session, images = Session(tmp_path, {}, CPU), np.zeros((2, 3), np.uint8)
    on_fake_card(session, monkeypatch)

    def attempt(cell, session, runs, on_step, micro_batch):
        lies_there = session.on_card(("images", 0), images, np.arange(2)) is not images
        attempts.append((micro_batch, lies_there))
        if micro_batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(one, "run", attempt)
    assert one.train(one_cell, session, tmp_path / "a").state == "n/a"  # no record: all went well
    assert attempts == [(4, True), (4, False), (2, False)]
    assert "4 images at once, its images off the GPU" in capsys.readouterr().err
    one.train(dataclasses.replace(one_cell, seed=1, batch_size=2), session, tmp_path / "b")
    assert attempts[3:] == [(2, True)]  # for the next cell all is as before


def test_results_leave_the_card_batch_by_batch(tmp_path, monkeypatch):
    setup, told = make_setup(tmp_path), []
    forward, to = setup.model.forward, torch.Tensor.to
    monkeypatch.setattr(setup.model, "forward", lambda x: told.append("pass") or forward(x))

    def noted(tensor, *arguments, **options):
        if arguments == ("cpu",):
            told.append("sent")
        return to(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", noted)
    found = evaluate(setup, subset(130))
    batch = ["pass", *["sent"] * len(found)]
    assert told == batch * 3  # masks of 25,000 images of 512 px would be 13 GB on it


def test_results_under_way_from_a_card_are_those_of_two_batches(tmp_path, monkeypatch):
    # they are pinned: masks of 25,000 images of 512 px would be 13 GB that the host cannot swap,
    # and torch gives none of them back
    setup, sent, most = make_setup(tmp_path), [], []
    to = torch.Tensor.to

    def pinned(tensor, *arguments, **options):
        if not options.get("non_blocking"):
            return to(tensor, *arguments, **options)
        there = tensor.clone()
        sent.append((len(tensor), weakref.ref(there)))
        most.append(sum(size for size, kept in sent if kept() is not None))
        return there

    monkeypatch.setattr(torch.Tensor, "to", pinned)
    found = evaluate(setup, subset(300))
    assert len(found["loss"]) == 300
    assert max(most) == 2 * 64 * len(found)


def test_images_lie_on_a_card_only_for_cells_that_read_them(tmp_path, monkeypatch):
    asked, resolver, images = [], Resolver(), with_images(tmp_path / "runs")
    axes = {"datasets": ("phantom_grading",), "backbones": ("tiny_vit",), "augment": ("none",)}
    short = {"steps": (2,), "evaluations": (1,), "batch_size": (4,), "image_size": (32,)}
    grid = Grid(methods=("linear", "bitfit"), fractions=(0.1,), seeds=(0,), **axes, **short)
    session = Session(images / "cache", resolver.sources, CPU)
    monkeypatch.setattr(
        Session, "on_card", lambda _, key, values, rows: asked.append(key[0]) or values
    )
    for one_cell, wanted in zip(resolver.cells([grid]), ("values", "images"), strict=True):
        run(one_cell, session, tmp_path)
        assert asked.pop() == wanted
        assert not asked


def test_rows_are_sent_to_a_card_once_and_piece_by_piece(monkeypatch):
    values = np.arange(40, dtype=np.float32).reshape(10, 4)
    values.setflags(write=False)  # as what is mapped from the disk
    card, sizes = OnCard.like(values, CPU), []
    monkeypatch.setattr("benchmark.training.session.SENT_BYTES", 3 * 16)
    copy = torch.Tensor.index_copy_
    monkeypatch.setattr(
        torch.Tensor, "index_copy_", lambda t, *a: sizes.append(len(a[1])) or copy(t, *a)
    )
    with warnings.catch_warnings(action="error"):  # torch warns of memory that may not be written
        card.send(values, np.array([7, 1, 1, 3, 0]))
        card.send(values, np.arange(10))
    assert sizes == [3, 1, 3, 3]
    assert (card.values.numpy() == values).all()


def test_the_peak_of_a_step_leaves_out_the_models_beside_it(monkeypatch):
    held = {"synchronize": None, "reset_peak_memory_stats": None}
    held |= {"memory_allocated": 50 << 20, "max_memory_allocated": 58 << 20}
    for name, value in held.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda device, value=value: value)
    # a bench holds all methods at once; 3 of the 50 MiB are those of the one that is measured
    assert bench_memory.peak_mib(lambda: None, torch.device("cuda:0"), 3 << 20) == 11
    assert bench_memory.peak_mib(lambda: None, CPU, 3 << 20) is None
    layer = torch.nn.Linear(4, 2)
    layer.bias.requires_grad_(False)
    assert bench_memory.training_bytes(layer) == 3 * 4 * 8


def test_what_a_backbone_holds_for_others_is_not_counted_for_a_cell(monkeypatch):
    session = Session(Path(), {}, CPU)
    make = partial(tiny_backbones.make, "vit")
    pristine, other = Pristine(make, CPU), Pristine(make, CPU)
    size = sum(p.nbytes for p in make().parameters())
    session._kept = OrderedDict({("backbone", 0): pristine, ("backbone", 1): other})
    session.device = torch.device("cuda:0")
    frozen = pristine.copy().requires_grad_(False)
    assert session.held_bytes(frozen) == size  # the other one
    trained = pristine.copy()
    own_trained(trained)
    assert session.held_bytes(trained) == 2 * size  # its weights are copies
    cast_frozen(frozen, set(frozen.modules()))
    left = sum(p.nbytes for p in frozen.parameters() if p.dtype == torch.float32)
    assert session.held_bytes(frozen) == 2 * size - left


def test_the_peak_of_a_cell_that_goes_on_in_another_process_is_its_own(tmp_path, monkeypatch):
    one_cell, found = cell(steps=4, evaluations=2), None
    for held, peak in ((100, 130), (0, 20)):  # the first held the images of other cells as well
        monkeypatch.setattr(memory, "peak_bytes", lambda device, peak=peak: peak)
        setup = dataclasses.replace(make_setup(tmp_path), held_bytes=held)
        with contextlib.suppress(Interrupted):
            found = fit(setup, subset(16), subset(8, 1), one_cell, lambda step: step == 2)
    assert found.peak_bytes == 30


def test_losses_of_a_batch_of_masks_are_those_of_single_images():
    task = Segmentation(("background", "a", "b"))
    logits, targets = torch.randn(4, 3, 8, 8), torch.randint(0, 3, (4, 8, 8)).to(torch.uint8)
    targets[0, :3] = 255
    targets[1] = 255  # nothing counts
    found = task.reduce(logits, targets)["loss"]
    single = [task.loss(x[None], t[None]) for x, t in zip(logits, targets, strict=True)]
    torch.testing.assert_close(found, torch.stack(single))


def test_images_that_lie_on_the_device_are_those_of_the_disk():
    images = subset(9).subset
    there = dataclasses.replace(images, images=torch.from_numpy(images.images))
    assert isinstance(there, Subset)
    positions = np.array([5, 0, 5])
    for a, b in zip(
        there.load(positions, torch.device("cpu")),
        images.load(positions, torch.device("cpu")),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_checkpoint_is_read_on_the_host_and_not_beside_the_model_on_a_card(tmp_path):
    setup, one_cell = make_setup(tmp_path), cell(steps=4, evaluations=2)
    with pytest.raises(Interrupted):
        fit(setup, subset(16), subset(8, 1), one_cell, lambda step: step == 3)
    optimizer, there = optimizer_of(setup.model, one_cell), torch.device("meta")  # keeps no value
    progress = resume(setup.checkpoint, setup.restore, optimizer, there)
    assert progress.step == 3
    assert {tensor.device.type for tensor in progress.best.values()} == {"cpu"}
    assert [loss.device.type for loss in progress.losses] == ["meta"]  # as those of later steps


def test_a_checkpoint_that_takes_long_is_written_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmark.training.checkpoint.time.perf_counter", lambda: now[0])
    clock = Clock(Progress())
    assert clock.is_due(at_point=True)
    assert not clock.is_due()
    now[0] = 61
    assert clock.is_due()
    with clock.saving():
        now[0] += 10  # gigabytes
    assert clock.progress.seconds == 61  # writing is no training
    now[0] += 150
    assert not clock.is_due()
    assert not clock.is_due(at_point=True)
    now[0] += 60
    assert clock.is_due()
    assert clock.is_due(at_point=True)


def test_batches_made_ahead_are_those_made_in_turn(tmp_path, monkeypatch):
    images, one = subset(20), cell(steps=6, evaluations=2, augment="default")
    folders = [tmp_path / "turn", tmp_path / "ahead"]
    for folder in folders:
        folder.mkdir()
    in_turn = fit(make_setup(folders[0]), images, images, one)
    monkeypatch.setattr(prefetch, "batches", lambda make, *_: prefetch.one_ahead(make, CPU))
    ahead = fit(make_setup(folders[1]), images, images, one)
    assert ahead.history == in_turn.history
    assert all(torch.equal(ahead.best[n], t) for n, t in in_turn.best.items())
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_the_next_batch_is_begun_and_a_fault_is_raised_where_its_batch_is_asked_for():
    begun, third = [], threading.Event()

    def make(step):
        begun.append(step)
        if step == 2:
            third.set()
            raise MemoryError("no room")
        return torch.tensor(step), torch.tensor(-step)

    with prefetch.one_ahead(make, CPU) as batch_of:
        assert batch_of(0)[0] == 0
        assert batch_of(1)[1] == -1
        assert third.wait(10)  # begun before anybody asked
        with pytest.raises(MemoryError, match="no room"):
            batch_of(2)
        assert batch_of(7)[0] == 7  # not the next one: a run that was resumed
    assert begun[:4] == [0, 1, 2, 7]
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_batches_of_all_cells_go_by_one_stream(monkeypatch):
    monkeypatch.setattr("torch.cuda.Stream", lambda device: object())
    prefetch.stream_of.cache_clear()
    first, other = (prefetch.stream_of(torch.device("cuda", n)) for n in (0, 1))
    assert prefetch.stream_of(torch.device("cuda", 0)) is first is not other
    prefetch.stream_of.cache_clear()


def test_only_what_is_not_on_the_card_is_fetched_ahead():
    images = subset(9)
    there = dataclasses.replace(images.subset, images=torch.from_numpy(images.subset.images))
    assert images.is_slow
    assert not dataclasses.replace(images, subset=there).is_slow
    with prefetch.batches(abs, images, CPU) as make:  # no GPU waits
        assert make is abs


@pytest.mark.parametrize(
    ("free", "each", "size"),
    [
        (500, 1, 128),  # 256 would take more than half
        (1000, 1, 256),
        (1024, 1, 512),
        (10**12, 1, 512),  # no more at once: it would be no faster
        (0, 5, 128),
    ],
)
def test_evaluation_grows_into_half_of_the_free_memory(free, each, size):
    assert memory.grown(128, free, each) == size
    # of processes on the card each takes its part
    assert memory.grown(128, 3 * free, each, processes=3) == size


def test_the_first_batch_of_an_evaluation_tells_how_many_fit(monkeypatch):
    held = {"now": 100, "peak": 900}  # bytes of the fake card

    def take(positions):
        sizes.append(len(positions))
        held["peak"] = held["now"] + 10 * len(positions)
        return positions.sum()

    monkeypatch.setattr(memory, "reset_peak", lambda card: held.update(peak=held["now"]))
    monkeypatch.setattr(memory, "peak_bytes", lambda card: held["peak"])
    monkeypatch.setattr(memory, "free_bytes", lambda card: 200)
    sizes = []
    assert sum(memory.Chunks(4, torch.device("cuda")).map(31, take)) == 31 * 30 / 2
    assert sizes == [4, 8, 8, 8, 3]  # 8 images of 10 bytes are at most half of 200
    sizes.clear()
    list(memory.Chunks(4, torch.device("cuda"), processes=2).map(8, take))
    assert sizes == [4, 4]  # and more than a quarter


def test_arithmetic_is_exact_within_and_as_before_after():
    before = torch.backends.cudnn.allow_tf32
    with arithmetic(Settings(deterministic=True)):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cudnn.allow_tf32 is before
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_a_later_cell_of_a_process_may_be_deterministic(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with arithmetic(Settings()):  # cuBLAS reads it at its first product, whoever asks for that
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_checks_of_a_card_run_on_tiny_networks_and_say_what_they_saw(tmp_path, monkeypatch):
    quick = (
        card.mixed_types,
        card.repeats,
        card.fetched_ahead,
        card.single_precision,
        card.memory_ends,
    )
    monkeypatch.setattr(card, "CHECKS", quick)
    found = {v.name: v for v in card.doctor(tmp_path, torch.device("cpu"), small=True)}
    assert [v.text for v in found.values() if not v.passed] == []
    assert found["deterministic mode"].text == "equal histories"
    assert found["out of memory"].text == "300 of 300 images, 64 at once in the end"
    use = card.well_used(card.Bench(tmp_path, torch.device("cpu"), small=True))
    assert not use.passed  # nobody looked into a card
    assert use.text.endswith("images/s, MFU unknown")
    monkeypatch.setattr(card, "CHECKS", (lambda bench: 1 / 0,))
    (fault,) = card.doctor(tmp_path, torch.device("cpu"), small=True)
    assert (fault.passed, fault.text) == (False, "division by zero")


def test_the_checks_of_a_card_ask_for_a_card(capsys):
    assert main(["bench", "--doctor-gpu"]) == 2
    assert capsys.readouterr().err == "error: there is no GPU here: --doctor-gpu is about one\n"


def test_the_use_of_a_card_is_measured_with_the_batch_that_its_memory_holds(tmp_path, monkeypatch):
    tried, measure = [], card.usage.measure

    def hungry_measure(cell, session, runs):
        tried.append(cell.batch_size)
        if cell.batch_size > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure(dataclasses.replace(cell, batch_size=8), session, runs)

    monkeypatch.setattr(card.usage, "measure", hungry_measure)
    bench = card.Bench(tmp_path, CPU, small=True)
    monkeypatch.setattr(card, "SMALL_BATCH", 256)
    assert card.well_used(bench).text.startswith("batch 64, ")
    assert tried == [256, 128, 64]  # 256 images of 224 px take 8 GiB and more
    monkeypatch.setattr(card, "LEAST_BATCH", 128)
    with pytest.raises(torch.OutOfMemoryError):
        card.well_used(bench)


def test_memory_that_ends_in_a_command_is_a_sentence(monkeypatch, capsys):
    def end(_):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has a total capacity of 4 GiB."
        )

    monkeypatch.setattr("benchmark.commands.bench.run", end)
    assert main(["bench"]) == 2
    wanted = "error: not enough memory (CUDA out of memory); take smaller batches or images\n"
    assert capsys.readouterr().err == wanted
    monkeypatch.setattr("benchmark.commands.bench.run", lambda _: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):  # a fault of ours stays one
        main(["bench"])


@pytest.mark.parametrize(("multiplies", "precision"), [(True, "bf16"), (False, "fp32")])
def test_a_card_that_emulates_bfloat16_gets_single_precision(multiplies, precision, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: multiplies)
    axes = {"methods": ("linear",), "backbones": ("tiny_vit",), "datasets": ("phantom_grading",)}
    (found,) = Resolver().cells([Grid(**axes, fractions=(1.0,), seeds=(0,))])
    assert found.precision == precision  # a T4 would take several times as long


def test_what_is_scored_or_predicted_later_is_computed_as_it_was_trained(tmp_path, monkeypatch):
    (one_cell,) = Resolver().cells([Grid(("linear",), ("tiny_vit",), ("phantom_grading",), (1.0,),
        seeds=(0,), steps=(1,), evaluations=(1,), image_size=(32,))])  # fmt: skip
    session = Session(tmp_path / "cache", {})
    run(one_cell, session, tmp_path)
    told, forward = [], torch.nn.Conv2d.forward

    def noted(layer, x):
        told.append(torch.backends.cudnn.allow_tf32)
        return forward(layer, x)

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    trained = load(one_cell.folder(tmp_path))
    monkeypatch.setattr(torch.nn.Conv2d, "forward", noted)
    trained.predict([tmp_path / "x.png"])
    monkeypatch.setattr(external, "load", lambda *_: trained)
    list(external.score([one_cell], session, tmp_path, "phantom_grading"))
    latency.measure("linear", "vit", tiny_backbones.make("vit"), 64, Watch(CPU, 1, 1), 1)
    assert told
    assert not any(told)  # TF32 in the patch embedding, after fp32 in training


def test_a_prediction_takes_fewer_images_at_once_when_memory_ends(tmp_path):
    (one_cell,) = Resolver().cells([Grid(("linear",), ("tiny_vit",), ("phantom_grading",), (1.0,),
        seeds=(0,), steps=(1,), evaluations=(1,), image_size=(32,))])  # fmt: skip
    run(one_cell, Session(tmp_path / "cache", {}), tmp_path)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((8, 8, 3), 25 * number, np.uint8)).save(path)
    trained = load(one_cell.folder(tmp_path))
    wanted = trained.predict(paths)
    trained.model.forward, sizes = hungry(trained.model.forward, 3)
    found = trained.predict(paths)
    assert sizes == [3, 3, 3]
    assert list(found["image"]) == list(map(str, paths))
    columns = [name for name in found if name.startswith("prob_")]
    np.testing.assert_allclose(found[columns], wanted[columns], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "535.104.05"),
        ("NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
    ],
)
def test_the_driver_is_read_of_both_kernel_modules(text, version, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    assert provenance._driver() == version


def test_precision_is_that_of_where_cells_run_and_not_of_where_they_are_planned(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PATH", "")  # no Slurm is asked
    axes = ["--methods", "linear", "--backbones", "tiny_vit", "--fractions", "0.1"]
    command = ["run", *axes, "--runs", str(tmp_path), "--dry-run", "--executor", "slurm"]
    keys = set()
    for gpu in (True, False):
        (cell,) = Sweep("linear", backbones="tiny_vit", fractions=0.1, runs=tmp_path, gpu=gpu).cells
        assert cell.precision == ("bf16" if gpu else "fp32")
        assert main([*command, *(["--slurm", "gpus_per_node=1"] if gpu else [])]) == 0
        assert cell.slug in capsys.readouterr().out
        keys.add(cell.key)
    assert len(keys) == 2
    here = Sweep("linear", backbones="tiny_vit", fractions=0.1, runs=tmp_path)
    with pytest.raises(InputError, match=r"write Sweep\(gpu=True\)"):
        here.run("slurm", slurm={"gpus_per_node": 1})


def test_the_ladder_pools_with_a_kernel_whose_gradient_is_deterministic_on_a_gpu():
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    for size in ((4, 4), (8, 8), (3, 3)):
        found = lst._shrunk(x, *size)
        torch.testing.assert_close(found, torch.nn.functional.adaptive_avg_pool2d(x, size))
    assert [lst._shrunk(x, n, n).grad_fn.name() for n in (4, 8)] == ["AvgPool2DBackward0"] * 2
