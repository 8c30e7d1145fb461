"""Contract checks that every method must pass on every backbone it supports.

Each check takes a method and a function that makes a fresh backbone, and raises AssertionError
with one sentence. The test suite runs them over the registry; they work for a method of your own.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import torch
from torch import nn

import methods
from benchmark.auditing.cuda import cuda_layer_norm, on_a_gpu
from benchmark.auditing.shared import STEPS, Maker, attached, dense, images, loss, trained
from benchmark.training.fit import set_mode
from methods import Method

Check = Callable[[Method, Maker], object]


def check_spec(method: Method, make: Maker) -> None:
    """The printed spec builds an equal, hashable method."""
    again = methods.build(str(method))
    assert again == method, f"{method} builds {again}"
    assert hash(again) == hash(method)
    assert method.paper, f"{method} names no source"


def check_identity(method: Method, make: Maker) -> None:
    """Attaching leaves the function unchanged where the method says so, and only there."""
    body = attached(method, make)
    with torch.no_grad():
        before, after = make()(images()), body(images())
    # a method that adds exact zeros differs by nothing; others differ by far more than rounding
    same = before.shape == after.shape and torch.allclose(before, after, atol=1e-5)
    declared = method.is_identity(make())
    assert same or not declared, (
        "attaching changes the outputs; let what is new start at zero, or declare identity = False"
    )
    assert declared or not same, "attaching changes no output; declare identity = True"


def check_repeats(method: Method, make: Maker) -> None:
    """One seed gives one start; in evaluation an image has one output, whatever is beside it."""
    first, again = (methods.trainable(attached(method, make)) for _ in range(2))
    other = [n for n in first if n in again and not torch.equal(first[n], again[n])]
    assert not other, f"one seed of torch gives two starts of {other}; draw with torch alone"
    body, _ = trained(method, make)
    with torch.no_grad():
        once, twice, alone = body(images()), body(images()), body(images()[:1])
        worst = (once[:1] - alone).abs().max() / once.abs().max()
    assert torch.equal(once, twice), "in evaluation equal images have other outputs each time"
    assert worst < 1e-4, f"in evaluation an image beside others differs by {worst:.1e} from alone"


def check_count(method: Method, make: Maker) -> None:
    """The trained values are as many as the closed form says."""
    found = sum(p.numel() for p in methods.trainable(attached(method, make)).values())
    assert found == method.count(make()), f"{found} trained, closed form {method.count(make())}"


def check_alive(method: Method, make: Maker) -> None:
    """Every trained tensor has a gradient within 3 steps from the method's own start, and moves."""
    start = {n: p.clone() for n, p in methods.trainable(attached(method, make)).items()}
    body, alive = trained(method, make)
    late = methods.trainable(body).keys() - start.keys()
    assert not late, f"made after edit, so that no optimiser trains it: {sorted(late)}"
    dead = [name for name, lives in alive.items() if not lives]
    assert not dead, f"no gradient in {STEPS} steps: {dead}"
    still = [n for n, p in methods.trainable(body).items() if torch.equal(p, start[n])]
    assert not still, f"never moved: {still}"


def check_frozen(method: Method, make: Maker) -> None:
    """Frozen parameters and buffers are bit-identical after training."""
    start, run = attached(method, make), attached(method, make)
    before = {**dict(start.named_parameters()), **dict(start.named_buffers())}
    set_mode(run, method.live_batch_norm)
    with torch.no_grad():
        run(images())  # by itself: what it changes in place would break a backward pass
    for body in (run, trained(method, make)[0]):
        after = {**dict(body.named_parameters()), **dict(body.named_buffers())}
        # running statistics may move only where a method says so, and are then stored
        stored = methods.delta(body).keys() if method.live_batch_norm else methods.trainable(body)
        moved = [n for n in before if n not in stored and not torch.equal(before[n], after[n])]
        assert not moved, f"frozen tensors moved: {moved}"


def check_pyramid(method: Method, make: Maker) -> None:
    """Pooled and dense features have the shapes that are said, and training changes both.

    A method that says another width of the pooled ones is not for dense ones.
    """
    bare, (start, (body, alive)) = make(), (attached(method, make), trained(method, make))
    width = method.num_features(make())
    with torch.no_grad():
        pooled = [m(images()) for m in (bare, start, body)]
        levels = [dense(m, images()) for m in (bare, body)]
    found = pooled[-1].shape[1]
    assert found == width, f"the pooled features are {found} wide, num_features says {width}"
    assert all(a.shape == b.shape for a, b in zip(*levels, strict=True)), (
        "the dense features have other shapes"
    )
    if alive:
        assert not torch.equal(*pooled[1:]), "training does not change the pooled features"
        same = torch.equal(levels[0][-1], levels[1][-1])
        assert not (same and width == pooled[0].shape[1]), (
            "training does not change the dense features"
        )


def check_delta(method: Method, make: Maker) -> None:
    """The delta reloads into a fresh model with equal outputs, and holds no more than needed."""
    body, _ = trained(method, make)
    delta = methods.delta(body)
    # with another seed: whoever loads it does not know that of the training
    fresh = attached(method, make, calibrated_on=None, seed=2)
    methods.load_delta(fresh, delta)
    with torch.no_grad():
        assert torch.equal(body(images()), fresh(images())), (
            "the reloaded model differs: what edit draws and does not train needs a generator of "
            "its own, with a fixed seed"
        )
    values = sum(t.numel() for t in delta.values())
    allowed = method.live_batch_norm or method.calibration_images
    buffers = sum(b.numel() for b in body.buffers()) if allowed else 0
    assert values <= method.count(make()) + buffers, f"the delta holds {values} values"


def check_calibration(method: Method, make: Maker) -> None:
    """What is chosen by training images lies in the delta, follows from them, and alone changes."""
    if not method.calibration_images:
        return
    before, *bodies = (attached(method, make, calibrated_on=n) for n in (None, 0, 0, 1, 2))
    trained_before = methods.trainable(before)
    for body in bodies:
        assert methods.trainable(body).keys() == trained_before.keys(), "it trains other tensors"
        moved = [
            name
            for (name, a), b in zip(before.named_parameters(), body.parameters(), strict=True)
            if not torch.equal(a, b)
        ]
        assert not moved, f"calibrate changed parameters: {moved}"
    first, again, *others = (methods.delta(body) for body in bodies)
    assert all(torch.equal(first[n], again[n]) for n in first), "equal images, another choice"
    # of two: a choice of few things may by chance be the same once
    same = all(torch.equal(first[n], other[n]) for other in others for n in first)
    assert not same, "it chooses the same from other images"
    with torch.no_grad():
        methods.load_delta(before, first)
        assert torch.equal(before(images()), bodies[0](images())), (
            "the delta does not hold all of what was chosen"
        )


def check_copy(method: Method, make: Maker) -> None:
    """A deep copy after a forward pass computes the same with tensors of its own."""
    body, _ = trained(method, make)
    with torch.no_grad():
        expected = body(images())
        twin = copy.deepcopy(body)
        # if the copy shared a tensor with it, this would change the copy's answer
        for parameter in body.parameters():
            parameter.zero_()
        assert torch.equal(twin(images()), expected), "the copy shares tensors with its original"


def check_merge(method: Method, make: Maker) -> None:
    """A merged model computes the same, with the original classes and nothing trainable."""
    if not method.is_mergeable(make()):
        return
    body, _ = trained(method, make)
    with torch.no_grad():
        expected = body(images())
        merged = methods.merge(method, body)
        worst = (merged(images()) - expected).abs().max() / expected.abs().max()
    assert worst < 1e-4, f"merged outputs differ by {worst:.1e}"
    # a merged network is timm's own again: it can be exported and costs nothing extra
    assert [type(m) for m in merged.modules()] == [type(m) for m in make().modules()]
    assert merged.state_dict().keys() - make().state_dict().keys() <= _new_biases(merged)
    assert not methods.trainable(merged)


def _new_biases(model: nn.Module) -> set[str]:
    return {name for name in model.state_dict() if name.endswith(".bias")}


def check_bfloat16(method: Method, make: Maker) -> None:
    """Loss and gradients stay finite under bf16 autocast, with the types that CUDA takes."""
    body = attached(method, make)
    with cuda_layer_norm():
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(body)
        assert value.isfinite(), f"the loss is {value}"
        if methods.trainable(body):
            value.backward()  # outside autocast, as in training
    if methods.trainable(body):
        grads = [p.grad for p in methods.trainable(body).values() if p.grad is not None]
        assert all(bool(g.isfinite().all()) for g in grads), "a gradient is not finite"


def check_double(method: Method, make: Maker) -> None:
    """A backbone in double precision gets tensors of double precision, and runs."""
    body = method.attach(make().double(), counted=False).eval()
    single = [n for n, p in methods.trainable(body).items() if p.dtype != torch.float64]
    assert not single, f"not in the precision of the backbone: {single}"
    with torch.no_grad():
        out = body(images().double())
    assert out.dtype == torch.float64, f"the output is {out.dtype}"


def check_device(method: Method, make: Maker) -> None:
    """All that it computes with goes to a GPU with the model; there need be none to see that."""
    body = attached(method, make)
    set_mode(body, method.live_batch_norm)
    with on_a_gpu(body) as device:
        x = images().to(device)
        try:
            for out in (body(x), *dense(body, x)):
                assert out.device == device, f"the output is on {out.device}"
        except RuntimeError as error:
            # as releases of torch say it; what asks for values, which are not there, is no fault
            if re.search("same device|different devices", str(error)):
                why = "a tensor stays on the CPU; register it as a parameter or buffer"
                raise AssertionError(f"{why}: {error}") from error


def check_learns(method: Method, make: Maker) -> None:
    """The method's own tensors lower the loss of 16 images under frozen random heads."""
    body = attached(method, make)
    if not methods.trainable(body):
        return
    # far above any default: 12 steps must be enough to see a fall
    optimizer = torch.optim.AdamW(methods.trainable(body).values(), lr=1e-2)
    values = []
    for _ in range(12):
        set_mode(body, method.live_batch_norm)
        value = loss(body, count=16)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert min(values[6:]) < values[0], f"the loss went from {values[0]:.4f} to {values[-1]:.4f}"
