"""What is timed: the floor, the bare forward pass, one training step per method, and PEFT's LoRA.

Legend: B images, S image side, K classes.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import methods
from benchmark.training import head
from benchmark.training.fit import set_mode
from benchmark.training.layout import lay_out
from methods import families
from methods.lora import Lora
from methods.parts.backbone import as_backbone

Action = Callable[[], object]
NUM_CLASSES = 5
FLOOR, FORWARD, PEFT = "floor", "forward", "peft: "
_WHOLE_LAYERS = {"qkv", "proj", "fc1", "fc2"}  # targets that PEFT can adapt too


@dataclass(frozen=True)
class Batch:
    """Images (B, 3, S, S), labels (B,), and the precision of the step ("fp32" or "bf16")."""

    images: Tensor
    labels: Tensor
    precision: str = "fp32"


@dataclass(frozen=True)
class Subject:
    """A model and its training step on one fixed batch; `step` changes the trained tensors."""

    name: str
    model: nn.Module
    forward: Callable[[], Tensor]
    step: Callable[[], None]


def batch_of(size: int, side: int, device: torch.device, precision: str) -> Batch:
    """Return a seeded random batch: a step takes as long on noise as on images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, side, side, generator=generator)
    labels = torch.randint(NUM_CLASSES, (size,), generator=generator)
    return Batch(images.to(device), labels.to(device), precision)


def trained(name: str, body: nn.Module, bare: Set[nn.Module], batch: Batch) -> Subject:
    """Return the subject that trains what `body` has left trainable, and a linear head.

    `bare` are the modules of `body` from before a method was attached.
    """
    torch.manual_seed(0)
    model = head.Classifier(body, as_backbone(body).num_features, NUM_CLASSES)
    model = model.to(batch.images.device)
    lay_out(model, bare, batch.precision, batch.images.device)
    set_mode(model, live_batch_norm=False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=batch.images.is_cuda)

    def forward() -> Tensor:
        with torch.autocast(
            batch.images.device.type, torch.bfloat16, enabled=batch.precision == "bf16"
        ):
            return F.cross_entropy(model(batch.images).float(), batch.labels)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        forward().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return Subject(name, model, forward, step)


def unsupported(spec: str, backbone: nn.Module) -> str | None:
    """Return why the method of `spec` cannot be attached to `backbone`, or None."""
    return methods.build(spec).refusal(backbone)


def of_method(spec: str, backbone: nn.Module, batch: Batch) -> Subject:
    """Return the step of a method attached to a copy of `backbone`.

    Raises:
        InputError: for a method that this backbone cannot take.
    """
    torch.manual_seed(0)
    body = copy.deepcopy(backbone)
    bare = set(body.modules())
    return trained(spec, methods.build(spec).attach(body), bare, batch)


def floor(backbone: nn.Module, batch: Batch) -> Subject:
    """Return the least that a method must do that trains something in the first block.

    The frozen forward pass, and the gradients of the activations back to the input of block 0.
    """
    body = copy.deepcopy(backbone).requires_grad_(False)
    families.blocks(body)[0].register_forward_pre_hook(
        lambda module, args: (args[0].detach().requires_grad_(), *args[1:])
    )
    return trained(FLOOR, body, set(body.modules()), batch)


def forward_only(backbone: nn.Module, batch: Batch) -> Subject:
    """Return the frozen forward pass without a graph."""
    body = copy.deepcopy(backbone).requires_grad_(False)
    subject = trained(FORWARD, body, set(body.modules()), batch)

    def step() -> None:
        with torch.inference_mode():
            subject.forward()

    return Subject(FORWARD, subject.model, subject.forward, step)


def peft_twin(spec: str, backbone: nn.Module, batch: Batch) -> Subject | None:
    """Return Hugging Face PEFT's LoRA of the same rank, scale and targets.

    None where PEFT is not installed or `spec` is no LoRA of whole layers.
    """
    method = methods.build(spec)
    if not isinstance(method, Lora) or method.name != "lora":
        return None
    targets = method.targets.split("+")
    if not _WHOLE_LAYERS.issuperset(targets):
        return None
    if importlib.util.find_spec("peft") is None:
        return None
    from peft import LoraConfig, inject_adapter_in_model

    body = copy.deepcopy(backbone)
    bare = set(body.modules())
    names = "|".join(targets)
    config = LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha),
        lora_dropout=method.dropout,
        target_modules=rf".*(blocks|layers|stages)\..*\.({names})",
        use_rslora=method.rank_stabilized,
    )
    inject_adapter_in_model(config, body)
    return trained(PEFT + spec, body, bare, batch)
