"""Checks of what engines do to an attached model: compile it, or compute it twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import methods
from benchmark.auditing.shared import Maker, attached, images, loss, trained
from methods import Method
from methods.parts.backbone import as_backbone


def check_checkpointing(method: Method, make: Maker) -> None:
    """Gradient checkpointing of the backbone's blocks gives equal gradients."""
    plain, _ = trained(method, make, steps=1)
    if not methods.trainable(plain):
        return
    expected = _gradients(plain)
    as_backbone(plain).set_grad_checkpointing(True)
    for name, gradient in _gradients(plain).items():
        worst = (gradient - expected[name]).abs().max()
        # equal up to the order of sums: the same operations run twice
        assert worst < 1e-5, f"checkpointing changes the gradient of {name} by {worst:.1e}"


def _gradients(body: nn.Module) -> dict[str, Tensor]:
    body.zero_grad()
    loss(body).backward()
    found = methods.trainable(body).items()
    return {name: p.grad.clone() for name, p in found if p.grad is not None}


def check_compile(method: Method, make: Maker) -> None:
    """`torch.compile` takes the model as one graph; outputs and gradients are the eager ones."""
    body, _ = trained(method, make, steps=1)
    # torch counts what it compiled for one piece of code, and gives up above a limit
    torch.compiler.reset()
    # fullgraph: a break would be silent, and slow; "aot_eager" leaves out the slow code generation
    compiled = torch.compile(body, fullgraph=True, backend="aot_eager")
    results = []
    for forward in (body, compiled):
        body.zero_grad()
        out = forward(images())
        if out.requires_grad:
            out.square().mean().backward()
        grads = [p.grad.clone() for p in methods.trainable(body).values() if p.grad is not None]
        results.append([out.detach(), *grads])
    worst = max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))
    assert worst < 1e-4, f"compiled outputs or gradients differ by {worst:.1e}"


def check_dynamic(method: Method, make: Maker) -> None:
    """What makes a method dynamic is alive: with the same weights, its static twin differs."""
    twin = method.static()
    if twin is None:
        return
    body, _ = trained(method, make)
    static = attached(twin, make)
    mine, theirs = methods.trainable(body), methods.trainable(static)
    with torch.no_grad():
        for name in theirs.keys() & mine.keys():
            theirs[name].copy_(mine[name])
        same = torch.allclose(body(images()), static(images()), atol=1e-6)
    assert not same, f"{method} computes what {twin} computes"
